import numpy as np
import pytest

from jiidm.classes import CLASS_NAMES, NUM_CLASSES, PALETTE, colorize, one_hot

CHALLENGE_ORDER = [
    "mountain", "sky", "water", "sea", "rock", "tree", "earth", "hill", "river", "sand", "land", "building", "grass",
    "plant", "person", "boat", "waterfall", "wall", "pier", "path", "lake", "bridge", "field", "road", "railing",
    "fence", "ship", "house", "other",
]  # fmt: skip


def test_names_are_the_challenges_in_its_order():
    assert list(CLASS_NAMES) == CHALLENGE_ORDER
    assert len(CLASS_NAMES) == NUM_CLASSES == 29


def test_every_class_has_a_colour_of_its_own():
    assert PALETTE.shape == (29, 3) and PALETTE.dtype == np.uint8
    assert len({tuple(color) for color in PALETTE.tolist()}) == 29


def test_colorize_can_be_read_back():
    mask = np.arange(29, dtype=np.uint8).repeat(2).reshape(2, 29)
    picture = colorize(mask)
    assert picture.shape == (2, 29, 3) and picture.dtype == np.uint8
    nearest = np.abs(picture[:, :, None, :].astype(int) - PALETTE.astype(int)).sum(-1).argmin(-1)
    np.testing.assert_array_equal(nearest, mask)


@pytest.mark.parametrize("label", [29, 255])
def test_colorize_refuses_ids_beyond_the_classes(label):
    with pytest.raises(IndexError):
        colorize(np.full((2, 2), label, np.uint8))


def test_one_hot_marks_each_pixel_once():
    mask = np.array([[0, 28, 5], [5, 1, 0]], np.uint8)
    encoded = one_hot(mask)
    assert encoded.shape == (29, 2, 3) and encoded.dtype == np.float32 and encoded.sum() == 6
    for row in range(2):
        for column in range(3):
            assert encoded[mask[row, column], row, column] == 1


@pytest.mark.parametrize("value", [29, 255])
def test_one_hot_refuses_labels_it_cannot_hold(value):
    with pytest.raises(ValueError, match=str(value)):
        one_hot(np.full((2, 2), value, np.uint8))
