"""Image and mask files to arrays and back. Everything wrong with a file is an InputError naming it."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps

from jiidm.classes import NUM_CLASSES
from jiidm.errors import InputError
from ldm_jittor.files import atomic_path

MAX_PIXELS = 2**26
"""Largest accepted image (8192 x 8192); judged by the file's header, before anything is decompressed."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_RGB_CONVERTIBLE = {"RGB", "RGBA", "RGBX", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr"}
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


@contextlib.contextmanager
def open_image(path: str | os.PathLike, formats: tuple[str, ...] = IMAGE_FORMATS) -> Iterator[Image.Image]:
    """Open a file of one of `formats` with its header read and its pixels not yet decoded.

    Decoding inside the block reports like opening: missing, empty, foreign, truncated or damaged files and
    those above MAX_PIXELS raise InputError with the path and what is wrong.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: empty file (0 bytes)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata and on sizes judged below
            with Image.open(path, formats=formats) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise InputError(f"{path}: {width}x{height} pixels, the limit is {MAX_PIXELS} in all")
                yield image
    except InputError:
        raise
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{path}: not a readable {' or '.join(formats)} image") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}") from error
    except _DECODE_ERRORS as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise InputError(f"{path}: cannot be read ({reason})") from error


def load_image(path: str | os.PathLike, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a photo as uint8 RGB [H,W,3], upright by its EXIF orientation.

    Gray, palette, CMYK and RGBA are converted, alpha is dropped. With `size` (width, height) the photo is
    stretched to it as by `resize_image`. Raises InputError for a file
    that does not decode fully or whose samples have 16 bits.
    """
    with open_image(path) as image:
        if image.mode not in _RGB_CONVERTIBLE:
            raise InputError(f"{path}: mode {image.mode} is not an 8-bit image")
        array = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return array if size is None else resize_image(array, size)


def resize_image(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch uint8 RGB [H,W,3] to `size` (width, height): area averaging when neither side grows, else cubic."""
    height, width = array.shape[:2]
    if size == (width, height):
        return array
    shrinks = size[0] <= width and size[1] <= height
    return cv2.resize(array, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def load_mask(path: str | os.PathLike, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a label PNG as uint8 [H,W] of class ids 0-28; `size` (width, height) resizes by nearest neighbour.

    The file must be single-channel: mode L of 8 bits, or P, whose indices are the labels. Raises InputError
    for any other mode, for labels outside 0-28 (listing them) and for a file that does not decode fully.
    """
    with open_image(path, ("PNG",)) as image:
        if image.mode not in ("L", "P"):
            raise InputError(f"{path}: mode {image.mode}, a mask must be 8-bit single-channel (mode L or P)")
        if image.mode == "L" and (bits := _png_bit_depth(path)) != 8:
            # Pillow stretches 2- and 4-bit gray to 0-255, which would turn label 1 into 85 or 17.
            raise InputError(f"{path}: {bits}-bit gray, a mask must be 8-bit single-channel")
        mask = np.array(image)
    bad = np.flatnonzero(np.bincount(mask.ravel(), minlength=NUM_CLASSES))
    bad = bad[bad >= NUM_CLASSES]
    if bad.size:
        shown = ", ".join(map(str, bad[:8])) + (f" and {bad.size - 8} more" if bad.size > 8 else "")
        raise InputError(f"{path}: label {shown} outside 0-{NUM_CLASSES - 1}")
    return mask if size is None else resize_mask(mask, size)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask [H,W] to `size` (width, height) by nearest neighbour.

    Output pixel i takes input pixel floor(i * input / output): the floor convention of torch's
    F.interpolate(mode="nearest"), in exact integer arithmetic (no half-pixel offset).
    """
    height, width = mask.shape
    columns = np.arange(size[0]) * width // size[0]
    rows = np.arange(size[1]) * height // size[1]
    return mask[rows[:, None], columns]


def read_size(path: str | os.PathLike, formats: tuple[str, ...] = IMAGE_FORMATS) -> tuple[int, int]:
    """(width, height) by the header, EXIF orientation not applied. Raises InputError like `open_image`."""
    with open_image(path, formats) as image:
        return image.size


def read_jpeg_quality(path: str | os.PathLike) -> int:
    """About the quality, 1 to 100 on the scale of libjpeg and Pillow, that a JPEG was saved with.

    Told by how coarse its brightness is quantised. Raises InputError like `open_image`.
    """
    with open_image(path, ("JPEG",)) as image:
        coarseness = _coarseness(image)
    return 1 + int(np.argmin(np.abs(np.array(_coarseness_by_quality()) - coarseness)))


def _coarseness(jpeg: Any) -> int:
    """How coarse its brightness is quantised: the sum of that table of Pillow's JpegImageFile."""
    return sum(jpeg.quantization[0])


@functools.lru_cache(maxsize=1)
def _coarseness_by_quality() -> list[int]:
    """What quality 1, 2, ... 100 means, asked of Pillow's encoder."""
    sums = []
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, format="JPEG", quality=quality)
        sums.append(_coarseness(Image.open(buffer)))
    return sums


def save_jpeg(path: str | os.PathLike, array: np.ndarray, quality: int = 95) -> None:
    """Write uint8 RGB [H,W,3] as JPEG, atomically; colour keeps full resolution (4:4:4)."""
    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary, format="JPEG", quality=quality, subsampling=0)


def save_png(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write uint8 RGB [H,W,3], or a mask [H,W], as PNG, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary, format="PNG")


def jpeg_round_trip(array: np.ndarray, quality: int) -> np.ndarray:
    """uint8 RGB [H,W,3] as it comes back from a JPEG of that quality, written as Pillow does by default (4:2:0)."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="JPEG", quality=quality)
    return np.array(Image.open(file))


def _png_bit_depth(path: str | os.PathLike) -> int:
    with open(path, "rb") as file:
        return file.read(25)[24]  # signature 8, chunk length and name 8, width and height 8, depth
