"""Colour transfer between images (Reinhard et al., "Color Transfer between Images", 2001)."""

from __future__ import annotations

import cv2
import numpy as np

SPACES = ("lab8", "lalphabeta")

_RGB_TO_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LMS_TO_LAB = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
_FLAT = 1e-6
"""Smallest divisor. A flat channel is off its mean by rounding errors only, and stays flat."""


def color_transfer(source: np.ndarray, reference: np.ndarray, space: str = "lab8") -> np.ndarray:
    """Give `source` the colour statistics of `reference`; both are uint8 RGB [H,W,3] of any two sizes.

    The mean and standard deviation of each channel are matched (Reinhard 2001, Eq. 10-11). `space` is "lab8", OpenCV's
    8-bit Lab as in the released IIDM code, or "lalphabeta", Reinhard's own log-LMS space. A flat source channel takes
    the reference's mean. Returns uint8 RGB of the source's size, rounded and clipped.
    Raises ValueError for another dtype, shape or space.
    """
    for name, image in (("source", source), ("reference", reference)):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"{name} must be uint8 [H,W,3], not {image.dtype} {list(image.shape)}")
    if space == "lab8":
        matched = _match_statistics(_to_lab8(source), _to_lab8(reference))
        return cv2.cvtColor(_to_uint8(matched), cv2.COLOR_LAB2RGB)
    if space == "lalphabeta":
        return _from_lalphabeta(_match_statistics(_to_lalphabeta(source), _to_lalphabeta(reference)))
    raise ValueError(f"space must be one of {', '.join(SPACES)}, not {space!r}")


def _match_statistics(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    mean, std = source.mean((0, 1)), source.std((0, 1))
    target_mean, target_std = reference.mean((0, 1)), reference.std((0, 1))
    return (source - mean) * (target_std / np.maximum(std, _FLAT)) + target_mean


def _to_lab8(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB).astype(np.float64)


def _to_lalphabeta(image: np.ndarray) -> np.ndarray:
    visible = np.maximum(image, 1) / 255  # the logarithm of black is infinite; one level up is invisible
    return np.log10(visible @ _RGB_TO_LMS.T) @ _LMS_TO_LAB.T


def _from_lalphabeta(image: np.ndarray) -> np.ndarray:
    lms = 10 ** (image @ np.linalg.inv(_LMS_TO_LAB).T)
    return _to_uint8(255 * (lms @ np.linalg.inv(_RGB_TO_LMS).T))


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
