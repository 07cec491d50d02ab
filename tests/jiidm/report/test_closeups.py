"""The window where images differ most, against a search over all windows."""

from __future__ import annotations

import numpy as np
import pytest

from jiidm.report.closeups import enlarged, framed, widest_difference


def by_search(images, height, width):
    deviation = np.stack(images).astype(float).std(axis=0).mean(axis=2)
    rows, columns = deviation.shape
    means = {
        (top, left): deviation[top : top + height, left : left + width].mean()
        for top in range(rows - height + 1)
        for left in range(columns - width + 1)
    }
    return max(means, key=means.get), max(means.values())


@pytest.mark.parametrize("size", [(24, 32), (13, 9), (3, 2)])
def test_it_is_the_one_that_a_search_finds(size):
    rng = np.random.default_rng(0)
    images = [rng.integers(256, size=(*size, 3), dtype=np.uint8) for _ in range(3)]
    window = widest_difference(images)
    place, difference = by_search(images, window.height, window.width)
    assert (window.top, window.left) == place and window.difference == pytest.approx(difference, rel=1e-5)
    assert (window.height, window.width) == tuple(max(1, side // 4) for side in size)


def test_a_planted_difference_is_enlarged_and_framed():
    image = np.zeros((40, 80, 3), np.uint8)
    other = image.copy()
    other[20:30, 50:70] = 200
    window = widest_difference([image, other])
    assert window[:4] == (20, 50, 10, 20) and window.difference == pytest.approx(100)
    assert enlarged(other, window).shape == (40, 80, 3) and (enlarged(other, window) == 200).all()
    drawn = framed(image, window)
    assert (drawn[20, 50:70] == (255, 0, 0)).all() and not image.any() and not drawn[24:26, 55:65].any()
