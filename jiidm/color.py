"""Colour transfer between images (Reinhard et al., "Color Transfer between Images", 2001)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

SPACES = ("lab8", "lalphabeta")

_RGB_TO_LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LMS_TO_LAB = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])
_FLAT = 1e-6
"""Smallest divisor. A flat channel is off its mean by rounding errors only, and stays flat."""
SMALLEST_REGION = 0.005
"""Share of an image below which a class has too few pixels to tell its colours."""
FEATHER = 0.02
"""How far regions blend at their borders: the Gaussian blur's standard deviation, over the image's shorter side."""


def color_transfer(source: np.ndarray, reference: np.ndarray, space: str = "lab8") -> np.ndarray:
    """Give `source` the colour statistics of `reference`; both are uint8 RGB [H,W,3] of any two sizes.

    The mean and standard deviation of each channel are matched (Reinhard 2001, Eq. 10-11). `space` is "lab8", OpenCV's
    8-bit Lab as in the released IIDM code, or "lalphabeta", Reinhard's own log-LMS space. A flat source channel takes
    the reference's mean. Returns uint8 RGB of the source's size, rounded and clipped.
    Raises ValueError for another dtype, shape or space.
    """
    source, reference = _to_space(source, "source", space), _to_space(reference, "reference", space)
    return _from_space(_matched(source, *_statistics(source), *_statistics(reference)), space)


def region_transfer(
    source: np.ndarray,
    reference: np.ndarray,
    source_mask: np.ndarray,
    reference_mask: np.ndarray,
    space: str = "lab8",
) -> np.ndarray:
    """`color_transfer` class by class: the sky gets the sky's colours, and the grass the grass's.

    source, reference: uint8 RGB [H,W,3] of any two sizes. The masks are class ids [H,W], each of its image's size.
    A class that covers less than `SMALLEST_REGION` of either image, such as one that the reference lacks, is changed by
    the statistics of the whole images. Near a border, see `FEATHER`, a pixel takes part of its change from the region
    beyond: the shift of that region's mean. The contrast there stays out of it, since a smooth sky's would be far too
    much for grass. A single class everywhere gives what `color_transfer` gives.
    Returns uint8 RGB of the source's size. Raises ValueError for another dtype, shape or space.
    """
    source, reference = _to_space(source, "source", space), _to_space(reference, "reference", space)
    _require_size(source_mask, source, "source_mask")
    _require_size(reference_mask, reference, "reference_mask")
    regions = []
    left = np.full(source_mask.shape, True)
    for label in np.intersect1d(source_mask, reference_mask):
        own, theirs = source_mask == label, reference_mask == label
        if min(own.mean(), theirs.mean()) >= SMALLEST_REGION:
            regions.append((own, *_statistics(source[own]), *_statistics(reference[theirs])))
            left &= ~own
    if left.any():
        regions.append((left, *_statistics(source), *_statistics(reference)))
    changed = np.zeros_like(source)
    for share, (region, mean, std, target_mean, target_std) in zip(_feathered([each[0] for each in regions]), regions):
        inside = _matched(source[region], mean, std, target_mean, target_std)
        changed[region] += share[region, None] * inside
        changed[~region] += share[~region, None] * (source[~region] + (target_mean - mean))
    return _from_space(changed, space)


def _feathered(regions: Sequence[np.ndarray]) -> np.ndarray:
    """The regions' shares of each pixel's surroundings, float64 [K,H,W], for bool [H,W] that cover all pixels once."""
    sigma = FEATHER * min(regions[0].shape)
    blurred = [
        cv2.GaussianBlur(region.astype(np.float64), (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for region in regions
    ]
    return np.array(blurred) / np.sum(blurred, axis=0)


def _statistics(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, of pixels [...,3]."""
    everywhere = tuple(range(pixels.ndim - 1))
    return pixels.mean(everywhere), pixels.std(everywhere)


def _matched(
    source: np.ndarray, mean: np.ndarray, std: np.ndarray, target_mean: np.ndarray, target_std: np.ndarray
) -> np.ndarray:
    """Reinhard's Eq. 10-11: source [...,3] and statistics [3]."""
    return (source - mean) * (target_std / np.maximum(std, _FLAT)) + target_mean


def _require_size(mask: np.ndarray, image: np.ndarray, name: str) -> None:
    if mask.shape != image.shape[:2] or not np.issubdtype(mask.dtype, np.integer):
        raise ValueError(f"{name} must be class ids {list(image.shape[:2])}, not {mask.dtype} {list(mask.shape)}")


def _to_space(image: np.ndarray, name: str, space: str) -> np.ndarray:
    """An image in a colour space, float64 [H,W,3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"{name} must be uint8 [H,W,3], not {image.dtype} {list(image.shape)}")
    if space == "lab8":
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB).astype(np.float64)
    if space == "lalphabeta":
        visible = np.maximum(image, 1) / 255  # the logarithm of black is infinite; one level up is invisible
        return np.log10(visible @ _RGB_TO_LMS.T) @ _LMS_TO_LAB.T
    raise ValueError(f"space must be one of {', '.join(SPACES)}, not {space!r}")


def _from_space(image: np.ndarray, space: str) -> np.ndarray:
    """The inverse of `_to_space`, rounded and clipped to uint8."""
    if space == "lab8":
        return cv2.cvtColor(_to_uint8(image), cv2.COLOR_LAB2RGB)
    lms = 10 ** (image @ np.linalg.inv(_LMS_TO_LAB).T)
    return _to_uint8(255 * (lms @ np.linalg.inv(_RGB_TO_LMS).T))


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
