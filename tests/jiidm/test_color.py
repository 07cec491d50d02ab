from __future__ import annotations

import cv2
import numpy as np
import pytest

from jiidm.color import SPACES, color_transfer


def photo(seed, height=40, width=56, center=128.0, spread=14.0):
    """Smooth noise well inside the gamut, so that nothing clips."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal((height, width, 3)), (0, 0), 3)
    noise = (noise - noise.mean((0, 1))) / noise.std((0, 1))
    tint = rng.uniform(-15, 15, 3)
    return np.clip(np.rint(center + tint + spread * noise), 0, 255).astype(np.uint8)


def lab(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float64)


def test_lab8_gives_the_statistics_of_the_reference():
    source, reference = photo(1, spread=10), photo(2, 30, 64, center=110, spread=16)
    result = lab(color_transfer(source, reference))
    np.testing.assert_allclose(result.mean((0, 1)), lab(reference).mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(result.std((0, 1)), lab(reference).std((0, 1)), atol=0.5)
    assert abs(lab(source).mean((0, 1)) - lab(reference).mean((0, 1))).max() > 5


def test_transfer_to_itself_changes_nothing():
    image = np.random.default_rng(7).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.abs(color_transfer(image, image, space="lalphabeta").astype(int) - image).max() <= 1
    quantised = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), cv2.COLOR_LAB2RGB)
    np.testing.assert_array_equal(color_transfer(image, image), quantised)  # what 8-bit Lab can hold
    plain = photo(8)
    assert np.abs(color_transfer(plain, plain).astype(int) - plain).mean() < 1


@pytest.mark.parametrize("space", SPACES)
def test_flat_source_takes_the_mean_of_the_reference(space):
    reference = photo(9)
    for value in (0, 255, (30, 90, 200)):
        source = np.empty((8, 8, 3), np.uint8)
        source[:] = value
        with np.errstate(all="raise"):
            result = color_transfer(source, reference, space=space)
        assert (result == result[0, 0]).all()
        assert np.abs(result[0, 0] - reference.mean((0, 1))).max() < 3


@pytest.mark.parametrize("space", SPACES)
def test_gray_photo_gets_one_tint_not_amplified_noise(space):
    gray = photo(10)[..., :1].repeat(3, axis=2)
    reference = photo(11)
    result = lab(color_transfer(gray, reference, space=space))
    assert result[..., 1:].std((0, 1)).max() < 2.5
    assert np.abs(result.mean((0, 1)) - lab(reference).mean((0, 1))).max() < 3


@pytest.mark.parametrize("space", SPACES)
def test_black_pixels_stay_finite(space):
    source = photo(12)
    source[:5] = 0
    result = color_transfer(source, photo(13), space=space)
    assert result.shape == source.shape and result.dtype == np.uint8
    assert result.mean() == pytest.approx(128, abs=25)


def test_views_are_accepted_and_inputs_kept():
    source, reference = photo(14), photo(15)
    before = source.copy()
    np.testing.assert_array_equal(
        color_transfer(source[:, ::-1], reference), color_transfer(source, reference)[:, ::-1]
    )
    np.testing.assert_array_equal(source, before)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_wrong_arrays_are_refused(bad):
    good = photo(16)
    with pytest.raises(ValueError, match="source"):
        color_transfer(bad, good)
    with pytest.raises(ValueError, match="reference"):
        color_transfer(good, bad)


def test_unknown_space_is_refused():
    with pytest.raises(ValueError, match="hsv"):
        color_transfer(photo(17), photo(18), space="hsv")
