"""The mask's pyramid by hand; tests/parity compares the whole network with PyTorch."""

import jittor as jt
import numpy as np
import pytest

from jiidm.model.gan.scgan import mask_pyramid

GAUSSIAN = sum(np.exp(-(i**2) / (2 * 1.5**2)) for i in range(-3, 4)) ** 2


def test_position_weights_a_large_region_as_the_released_code_does():
    levels = mask_pyramid(jt.ones((1, 2, 256, 256)), position=True)
    assert [level.shape[2] for level in levels] == [8, 16, 32, 64, 128, 256]
    middles = [float(level[0, 1, level.shape[2] // 2, level.shape[3] // 2]) for level in levels]
    assert abs(GAUSSIAN - 13.65) < 0.01
    assert middles == pytest.approx(4 * [GAUSSIAN**3] + 2 * [GAUSSIAN], rel=1e-4)


def test_without_position_levels_are_averages():
    segmap = np.random.default_rng(0).integers(0, 2, (1, 3, 32, 64)).astype(np.float32)
    levels = mask_pyramid(jt.array(segmap), position=False)
    np.testing.assert_array_equal(levels[-1].numpy(), segmap)
    expected = segmap.reshape(1, 3, 1, 32, 2, 32).mean((3, 5))
    np.testing.assert_allclose(levels[0].numpy(), expected, atol=1e-6)
