"""The distance that colour transfer by region is made for."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality import region_color


def gray(*values):
    """An image of one row, a pixel per value."""
    return np.repeat(np.array([values], np.uint8)[..., None], 3, axis=2)


def test_class_distance_compares_each_class_with_its_own():
    black_white, mask = gray(0, 0, 0, 255), np.array([[1, 1, 1, 2]], np.uint8)
    swapped = gray(255, 0), np.array([[2, 1]], np.uint8)
    assert region_color.class_distance(black_white, mask, *swapped) == pytest.approx(0, abs=0.01)
    # white has L = 100: the reference's class 1 is white, on three of four pixels
    wrong = gray(255, 255), np.array([[2, 1]], np.uint8)
    assert region_color.class_distance(black_white, mask, *wrong) == pytest.approx(75, abs=0.1)
    # classes that the reference lacks do not count
    only = gray(255), np.array([[2]], np.uint8)
    assert region_color.class_distance(black_white, mask, *only) == pytest.approx(0, abs=0.01)
    assert np.isnan(region_color.class_distance(black_white, mask, gray(255), np.array([[3]], np.uint8)))
