from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.stats import norm

from jiidm.color import SPACES, color_transfer, region_transfer


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


def halves(shape, left, right):
    """A mask of two classes."""
    mask = np.full(shape, left, np.uint8)
    mask[:, shape[1] // 2 :] = right
    return mask


def by_hand(source, reference):
    """Reinhard's transfer of pixels [N,3] in OpenCV's 8-bit Lab, to pixels [M,3]."""
    a, b = (lab(pixels[None])[0] for pixels in (source, reference))
    moved = (a - a.mean(0)) / a.std(0) * b.std(0) + b.mean(0)
    return cv2.cvtColor(np.clip(np.rint(moved), 0, 255).astype(np.uint8)[None], cv2.COLOR_LAB2RGB)[0]


class TestRegions:
    @pytest.mark.parametrize("space", SPACES)
    def test_one_class_everywhere_is_the_plain_transfer(self, space):
        for seed in range(20):
            source, reference = photo(seed, 41, 57, spread=10), photo(seed + 100, 30, 64, center=110, spread=16)
            masks = np.full((41, 57), 5, np.uint8), np.full((30, 64), 5, np.uint8)
            plain = color_transfer(source, reference, space)
            np.testing.assert_array_equal(region_transfer(source, reference, *masks, space), plain)

    def test_two_regions_each_get_their_own_classs_colours(self):
        source, reference = photo(20, 64, 96), photo(21, 50, 120, center=110)
        reference[:, 60:] = photo(22, 50, 60, center=150, spread=8)
        # the classes stand on other sides in the reference
        result = region_transfer(source, reference, halves((64, 96), 1, 2), halves((50, 120), 2, 1))
        left = by_hand(source[:, :48].reshape(-1, 3), reference[:, 60:].reshape(-1, 3)).reshape(64, 48, 3)
        right = by_hand(source[:, 48:].reshape(-1, 3), reference[:, :60].reshape(-1, 3)).reshape(64, 48, 3)
        reach = 8  # the blur ends at four standard deviations of 2 % of 64 pixels
        np.testing.assert_array_equal(result[:, : 48 - reach], left[:, : 48 - reach])
        np.testing.assert_array_equal(result[:, 48 + reach :], right[:, reach:])

    def test_a_border_is_crossed_in_steps_between_both_sides(self):
        source = np.full((64, 96, 3), 128, np.uint8)
        reference = np.full((64, 96, 3), 60, np.uint8)
        reference[:, 48:] = 200
        masks = halves((64, 96), 3, 4)
        gray = region_transfer(source, reference, masks, masks)[..., 1].astype(int)
        assert (np.abs(gray[:, 0] - 60) <= 1).all() and (np.abs(gray[:, -1] - 200) <= 1).all()
        steps = np.diff(gray, axis=1)
        assert steps.min() >= -1 and steps.max() < 70  # 140 at once without blending

    @pytest.mark.parametrize("spread", [0, 1, 6])
    def test_a_smooth_sky_fades_into_the_shift_of_the_textured_ground(self, spread):
        """In gray, whose Lab is its lightness alone, the shares of a straight border are a normal distribution's."""
        rng, masks = np.random.default_rng(40), [halves((100, 150), 1, 2)] * 2
        sky = (225 + spread * rng.standard_normal((100, 75))).clip(0, 255)
        ground = 90 + 25 * rng.standard_normal((100, 75))
        source = np.concatenate([sky, ground], 1).clip(0, 255).astype(np.uint8)[..., None].repeat(3, 2)
        reference = halves((100, 150), 150, 60)[..., None].repeat(3, 2) + rng.integers(0, 20, (100, 150, 1), np.uint8)
        before, target = lab(source)[..., 0], lab(reference)[..., 0]
        after = lab(region_transfer(source, reference, *masks))[..., 0]
        shift = [target[:, half].mean() - before[:, half].mean() for half in (slice(75), slice(75, None))]
        share = norm.cdf((75 - (np.arange(67, 75) + 0.5)) / 2)
        blurred = share * target[:, :75].mean() + (1 - share) * (before[:, 67:75].mean() + shift[1])
        np.testing.assert_allclose(after[:, 67:75].mean(0), blurred, atol=6)  # a column's mean, of a texture
        assert after[:, 75:83].min() > before[:, 75:83].min() + min(shift) - 10

    def test_classes_that_the_reference_lacks_get_the_whole_images_colours(self):
        source, reference = photo(23, 64, 96), photo(24, 64, 96, center=100)
        result = region_transfer(source, reference, halves((64, 96), 1, 2), np.full((64, 96), 1, np.uint8))
        whole = color_transfer(source, reference)
        np.testing.assert_array_equal(result[:, 56:], whole[:, 56:])
        assert np.abs(result[:, :40].astype(int) - whole[:, :40]).max() > 0
        apart = region_transfer(source, reference, halves((64, 96), 1, 2), halves((64, 96), 3, 4))
        np.testing.assert_array_equal(apart, whole)

    @pytest.mark.parametrize("side", ["source", "reference"])
    def test_a_few_pixels_tell_no_colours(self, side):
        source, reference = photo(25, 64, 96), photo(26, 64, 96)
        spotted = np.full((64, 96), 1, np.uint8)
        spotted[:5, :6] = 2  # less than 0.5 % of the image
        other = halves((64, 96), 1, 2)
        masks = (spotted, other) if side == "source" else (other, spotted)
        result = region_transfer(source, reference, *masks)
        masks = [np.where(mask == 2, 9 + place, mask) for place, mask in enumerate(masks)]  # shared no more
        np.testing.assert_array_equal(result, region_transfer(source, reference, *masks))

    @pytest.mark.parametrize("space", SPACES)
    def test_flat_regions_take_the_mean_without_division_by_zero(self, space):
        source, reference = np.full((64, 96, 3), 90, np.uint8), photo(27, 64, 96)
        source[:, 48:] = photo(28, 64, 48)
        masks = halves((64, 96), 1, 2)
        for value in (0, 90, 255):
            source[:, :48] = value
            with np.errstate(all="raise"):
                result = region_transfer(source, reference, masks, masks, space)
            flat = result[:, :40]
            assert (flat == flat[0, 0]).all()
            assert np.abs(flat[0, 0] - reference[:, :48].mean((0, 1))).max() < 3

    def test_views_are_accepted_and_inputs_kept(self):
        source, reference, masks = photo(29), photo(30), [halves((40, 56), 1, 2), halves((40, 56), 2, 1)]
        before = [array.copy() for array in (source, reference, *masks)]
        turned = region_transfer(source[:, ::-1], reference[:, ::-1], *(mask[:, ::-1] for mask in masks))
        np.testing.assert_array_equal(turned, region_transfer(source, reference, *masks)[:, ::-1])
        for array, kept in zip((source, reference, *masks), before):
            np.testing.assert_array_equal(array, kept)

    def test_masks_of_another_size_or_kind_are_refused(self):
        image, mask = photo(31), np.zeros((40, 56), np.uint8)
        with pytest.raises(ValueError, match=r"source_mask must be class ids \[40, 56\], not uint8 \[56, 40\]"):
            region_transfer(image, image, mask.T, mask)
        with pytest.raises(ValueError, match="reference_mask"):
            region_transfer(image, image, mask, mask.astype(float))
        with pytest.raises(ValueError, match="source must be uint8"):
            region_transfer(image[..., 0], image, mask, mask)
