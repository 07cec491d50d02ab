from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from jiidm.data.images import load_image, load_mask
from jiidm.data.reference_masks import ReferenceMasks
from jiidm.errors import InputError


class Sees:
    """A segmenter that sees class 4 everywhere, and counts how often it was loaded."""

    loaded = 0

    def __init__(self):
        Sees.loaded += 1

    def predict(self, images):
        return np.full(images.shape[:3], 4, np.uint8)


PHOTO = np.zeros((24, 32, 3), np.uint8)


@pytest.fixture
def image(landscapes):
    return landscapes / "imgs" / "synth_000001.jpg"


def test_a_given_mask_comes_before_the_data_folders_and_that_before_a_prediction(image, landscapes):
    masks = ReferenceMasks(Sees)
    given = np.full((12, 8), 9, np.uint8)
    np.testing.assert_array_equal(masks.of(image, given, PHOTO), np.full((24, 32), 9))
    own = load_mask(landscapes / "labels" / "synth_000001.png")
    np.testing.assert_array_equal(masks.of(image, None, load_image(image)), own)
    np.testing.assert_array_equal(masks.of(image, None, PHOTO), own[::2, ::2])  # at the photo's size
    np.testing.assert_array_equal(masks.of(load_image(image), None, PHOTO), np.full((24, 32), 4))


def test_the_segmenter_is_loaded_once_and_only_where_it_is_needed(image, tmp_path):
    masks, before = ReferenceMasks(Sees), Sees.loaded
    masks.of(image, None, PHOTO)
    masks.of(PHOTO, PHOTO[..., 0], PHOTO)
    assert Sees.loaded == before
    alone = Path(shutil.copy(image, tmp_path / "photo.jpg"))
    masks.of(alone, None, PHOTO)
    masks.of(PHOTO, None, PHOTO)
    assert Sees.loaded == before + 1


def test_without_a_segmenter_a_reference_without_mask_is_refused(image):
    masks = ReferenceMasks(None)
    masks.of(image, None, PHOTO)
    with pytest.raises(InputError, match="no mask in labels/"):
        masks.of(PHOTO, None, PHOTO)
