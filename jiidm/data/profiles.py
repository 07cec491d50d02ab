"""ICC profiles: photos in another colour space (a phone's Display P3, Adobe RGB, CMYK for print) become sRGB."""

from __future__ import annotations

import functools
import io
import os
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from jiidm.errors import warn_once

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's modes by a profile's colour space."""
_BLACK_STAYS_BLACK: Any = 0x2000  # lcms's cmsFLAGS_BLACKPOINTCOMPENSATION, which older Pillows do not name
_GRAY = ("L", "LA", "1")
_FAULTS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError)


def to_srgb(image: Image.Image, path: os.PathLike | str) -> Image.Image:
    """The image in mode RGB, its colours in sRGB, without alpha. An image without a profile counts as sRGB.

    Colours are converted relative to white, and black stays black. A profile that cannot be used is left out, with a
    warning that names `path`.
    """
    profile = image.info.get("icc_profile")
    if profile:
        try:
            mode, transform = _to_srgb(profile)
            _check(image.mode, mode)
            base = image.convert(mode)
            return base.convert("RGB") if transform is None else transform.apply(base)
        except _FAULTS as error:
            warn_once(f"{path}: its colour profile is left out ({error})")
    return image.convert("RGB")


def _check(image_mode: str, profile_mode: str) -> None:
    """A profile is of the image's own kind, or an RGB one of a gray image."""
    kind = "CMYK" if image_mode == "CMYK" else "L" if image_mode in _GRAY else "RGB"
    if kind != profile_mode and (kind, profile_mode) != ("L", "RGB"):
        raise ValueError(f"one for {profile_mode} in an image of mode {image_mode}")


@functools.lru_cache(maxsize=8)
def _to_srgb(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """The mode that a profile describes, and how its colours become sRGB's; None where they are sRGB's already."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if space not in _MODES:
        raise ValueError(f"one for {space}")
    mode = _MODES[space]
    transform = ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        _BLACK_STAYS_BLACK,
    )
    return mode, None if mode == "RGB" and _changes_little(transform) else transform


def _changes_little(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether no colour moves by more than rounding: sRGB under whatever name."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    moved = np.asarray(transform.apply(Image.fromarray(colors)))
    return int(np.abs(moved.astype(int) - colors).max()) <= 1
