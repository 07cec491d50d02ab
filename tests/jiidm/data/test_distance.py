import numpy as np
from scipy import ndimage

from jiidm.data.distance import distance_map


def expected(mask):
    """By the definition, a region at a time."""
    offsets = np.zeros((2, *mask.shape))
    for label in np.unique(mask):
        regions, count = ndimage.label(mask == label, structure=np.ones((3, 3)))
        for number in range(1, count + 1):
            for axis, places in enumerate(np.nonzero(regions == number)):
                offset = places - places.mean()
                offsets[axis][regions == number] = offset / (np.abs(offset).max() + 1e-5)
    return offsets


def blocks(seed):
    return np.random.default_rng(seed).integers(0, 4, (5, 7)).repeat(3, 0).repeat(4, 1).astype(np.uint8)


def test_distance_map_is_the_offset_from_the_regions_centroid():
    mask = blocks(0)
    assert 0 in mask
    np.testing.assert_allclose(distance_map(mask), expected(mask), atol=1e-6)
    assert distance_map(mask).dtype == np.float32


def test_class_0_has_offsets_too():
    offsets = distance_map(np.zeros((3, 5), np.uint8))
    np.testing.assert_allclose(offsets[0][:, 0], [-1, 0, 1], atol=1e-4)
    np.testing.assert_allclose(offsets[1][0], [-1, -0.5, 0, 0.5, 1], atol=1e-4)


def test_regions_that_touch_at_a_corner_are_one():
    offsets = distance_map(np.eye(2, dtype=np.uint8))
    np.testing.assert_allclose(offsets[0].diagonal(), [-1, 1], atol=1e-4)


def test_the_map_of_a_mirrored_mask_is_mirrored_and_its_second_channel_negated():
    mask = blocks(1)
    mirrored = distance_map(mask)[:, :, ::-1] * np.array([1, -1], np.float32)[:, None, None]
    np.testing.assert_allclose(distance_map(mask[:, ::-1]), mirrored, atol=1e-6)
