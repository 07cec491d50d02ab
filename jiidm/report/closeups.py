"""Where several images of one scene differ most: the paper's Figure 6, found by rule instead of by eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

SHARE = 4
"""A close-up is a quarter of the image's width and height."""
FRAME = (255, 0, 0)


class Window(NamedTuple):
    top: int
    left: int
    height: int
    width: int
    difference: float
    """Mean standard deviation between the images there, in grey levels."""


def widest_difference(images: Sequence[np.ndarray]) -> Window:
    """The window in which uint8 RGB images [H,W,3] of one size differ most: their deviation, averaged over it."""
    deviation = np.stack(images).astype(np.float32).std(axis=0).mean(axis=2)
    rows, columns = deviation.shape
    height, width = max(1, rows // SHARE), max(1, columns // SHARE)
    means = cv2.boxFilter(deviation, -1, (width, height), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    inside = means[: rows - height + 1, : columns - width + 1]
    top, left = np.unravel_index(np.argmax(inside), inside.shape)
    return Window(int(top), int(left), height, width, float(inside[top, left]))


def enlarged(image: np.ndarray, window: Window) -> np.ndarray:
    """The window of uint8 RGB [H,W,3], at the image's own size."""
    cut = image[window.top : window.top + window.height, window.left : window.left + window.width]
    return cv2.resize(cut, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def framed(image: np.ndarray, window: Window) -> np.ndarray:
    """A copy of uint8 RGB [H,W,3] with the window drawn in it."""
    corner = window.left + window.width - 1, window.top + window.height - 1
    return cv2.rectangle(image.copy(), (window.left, window.top), corner, FRAME, 2)
