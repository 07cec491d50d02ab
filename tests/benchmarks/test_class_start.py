"""The statistics that a start without a reference rests on."""

from __future__ import annotations

import numpy as np

from benchmarks.quality import class_start


def test_statistics_are_those_of_a_class_at_its_height():
    height = 2 * class_start.BANDS
    mask = np.zeros((height, 3), np.uint8)
    mask[-2:] = 1  # the last band
    latents = np.zeros((2, height, 3), np.float32)
    latents[0] = class_start.bands_of(height)[:, None]
    latents[1, -2:] = [[4, 4, 4], [8, 8, 8]]
    found = class_start.collect([(latents, mask)], num_classes=3)
    np.testing.assert_allclose(found.mean[0, :-1, 0], np.arange(class_start.BANDS - 1))
    np.testing.assert_allclose(found.mean[1, -1], [class_start.BANDS - 1, 6])
    np.testing.assert_allclose(found.deviation[1, -1], [0, 2])
    # where a class is not seen: its other heights, and for one that is never seen all pixels
    np.testing.assert_allclose(found.mean[1, 0], found.mean[1, -1])
    np.testing.assert_allclose(found.mean[2, 3], latents.reshape(2, -1).mean(1))
    mean, deviation = found.at(mask)
    assert mean.shape == deviation.shape == latents.shape
    np.testing.assert_allclose(mean[0], latents[0])
