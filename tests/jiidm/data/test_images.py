from __future__ import annotations

import os
import struct
import zlib

import cv2
import numpy as np
import photos
import pytest
from PIL import Image, ImageCms

from jiidm.classes import PALETTE
from jiidm.data import images
from jiidm.errors import InputError
from jiidm.size import Size

RNG = np.random.default_rng(0)


def photo(height=12, width=16):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def raw_png(path, width, height, depth, color_type, rows=b""):
    """A PNG made by hand, for headers Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def error_of(function, path):
    with pytest.raises(InputError) as caught:
        function(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA"])
def test_every_common_mode_becomes_rgb(tmp_path, mode):
    image = Image.fromarray(photo()).convert(mode)
    image.save(tmp_path / "a.png")
    loaded = images.load_image(tmp_path / "a.png")
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, np.array(image.convert("RGB")))


def test_cmyk_jpeg_keeps_its_colour(tmp_path):
    Image.new("RGB", (16, 16), (200, 60, 30)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    loaded = images.load_image(tmp_path / "a.jpg")
    assert np.abs(loaded.astype(int) - (200, 60, 30)).max() <= 3


def test_exif_orientation_turns_the_photo_upright(tmp_path):
    array = np.zeros((16, 32, 3), np.uint8)
    array[:, :16] = 255  # left half white; orientation 6 means: turn clockwise to view, so the top is white
    image = Image.fromarray(array)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    loaded = images.load_image(tmp_path / "a.jpg")
    assert loaded.shape == (32, 16, 3)
    assert loaded[:14].min() > 200 and loaded[18:].max() < 50


HALVES = np.repeat(np.repeat([[255, 0]], 16, axis=1), 16, axis=0).astype(np.uint8)[..., None].repeat(3, axis=2)
"""Left half white; turned upright from orientation 6 the top is."""


@pytest.mark.parametrize(
    "tag",
    [
        (0x0128, 2, 2, b"2"),  # the unit of resolution as text
        (0x0128, 7, 1, b"2"),
        (0x011A, 2, 2, b"7"),  # the resolution as text
        (0x011A, 2, 1, b""),  # as no text, which makes Pillow itself refuse the photo
        (0x011A, 10, 1, b"\xff\xff\xff\x7f"),  # a fraction that lies behind the end
        (0x8769, 4, 1, b"\xff\xff\xff\xff"),
    ],
)
def test_odd_exif_leaves_the_photo_upright(tmp_path, tag):
    unit = (0x0128, 3, 1, b"\2")
    block = photos.exif(photos.turned(6), tag, *([unit] if tag[0] == 0x011A else []))
    (tmp_path / "a.jpg").write_bytes(photos.jpeg(HALVES, (1, block)))
    loaded = images.load_image(tmp_path / "a.jpg")
    assert loaded.shape == (32, 16, 3) and loaded[:14].min() > 200 and loaded[18:].max() < 50
    assert images.read_size(tmp_path / "a.jpg") == (32, 16)


def test_no_exif_stops_a_photo(tmp_path):
    """Random blocks, with wrong counts, types and offsets, and the multi-picture segment that phones write."""
    rng, path = np.random.default_rng(0), tmp_path / "a.jpg"
    for number in range(200):
        kinds = rng.choice([0x0112, 0x011A, 0x0128, 0x8769, 0xA005], 3)
        tags = [(int(kind), int(rng.integers(14)), int(rng.choice([0, 1, 2**32 - 1])), rng.bytes(4)) for kind in kinds]
        block = photos.exif(*tags, count=200 if number % 5 == 0 else None)
        path.write_bytes(photos.jpeg(HALVES, (1, block), (2, b"MPF\0" + block[6:])))
        assert images.load_image(path).shape[:2] == images.read_size(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_size_is_that_of_the_upright_image(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(HALVES).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(HALVES[..., 0] // 255).save(tmp_path / "m.png", exif=exif)
    for path, load in ((tmp_path / "a.png", images.load_image), (tmp_path / "m.png", images.load_mask)):
        assert load(path).shape[:2] == images.read_size(path)


def srgb_of(color, to_xyz, gamma):
    """A colour of a matrix profile in sRGB, by the standards' formulas; float [3] of 0 to 255, clipped."""
    linear = np.linalg.inv(photos.SRGB_TO_XYZ) @ to_xyz @ (np.array(color) / 255) ** gamma
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_display_p3_becomes_srgb(tmp_path, suffix):
    colors = RNG.integers(40, 216, (8, 8, 3), dtype=np.uint8)
    profile = photos.matrix_profile(photos.DISPLAY_P3_TO_XYZ, 2.2)
    Image.fromarray(colors).save(tmp_path / f"a.{suffix}", icc_profile=profile, lossless=True)
    expected = [srgb_of(color, photos.DISPLAY_P3_TO_XYZ, 2.199) for color in colors.reshape(-1, 3)]
    loaded = images.load_image(tmp_path / f"a.{suffix}").reshape(-1, 3)
    assert np.abs(loaded - expected).max() < 2
    assert np.abs(loaded.astype(int) - colors.reshape(-1, 3)).max() > 10


def test_a_turned_photo_with_alpha_keeps_its_profile(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = photos.matrix_profile(photos.DISPLAY_P3_TO_XYZ, 2.2)
    color = (200, 60, 30)
    Image.new("RGBA", (8, 4), (*color, 9)).save(tmp_path / "a.png", exif=exif, icc_profile=profile)
    loaded = images.load_image(tmp_path / "a.png")
    assert loaded.shape == (8, 4, 3)
    assert np.abs(loaded[0, 0] - srgb_of(color, photos.DISPLAY_P3_TO_XYZ, 2.199)).max() < 2


def test_a_profile_of_srgb_changes_no_pixel(tmp_path):
    array = photo(32, 32)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(array).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png"), array)


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile",
        photos.matrix_profile(photos.DISPLAY_P3_TO_XYZ, 2.2)[:150],
        photos.matrix_profile(photos.DISPLAY_P3_TO_XYZ, 2.2, space=b"CMYK"),
        photos.matrix_profile(photos.DISPLAY_P3_TO_XYZ, 2.2, space=b"Lab "),
    ],
)
def test_a_broken_profile_is_warned_of_and_left_out(tmp_path, caplog, profile):
    array = photo()
    Image.fromarray(array).save(tmp_path / "a.png", icc_profile=profile)
    for _ in range(2):
        np.testing.assert_array_equal(images.load_image(tmp_path / "a.png"), array)
    (message,) = caplog.messages
    assert f"{tmp_path / 'a.png'}: its colour profile is left out" in message and "\n" not in message


@pytest.mark.parametrize("progressive", [False, True])
def test_a_header_far_larger_than_its_data_is_refused(tmp_path, progressive):
    """libjpeg paints what is missing gray and says nothing."""
    content = bytearray(photos.jpeg(np.full((16, 16, 3), 99, np.uint8), progressive=progressive))
    start = content.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    content[start + 5 : start + 9] = struct.pack(">HH", 8000, 8000)
    (tmp_path / "a.jpg").write_bytes(content)
    assert "cannot hold 8000x8000 pixels" in error_of(images.load_image, tmp_path / "a.jpg")


@pytest.mark.parametrize("progressive", [False, True])
def test_the_densest_jpeg_is_no_damage(tmp_path, progressive):
    flat = np.full((1024, 1024), 128, np.uint8)
    (tmp_path / "a.jpg").write_bytes(photos.jpeg(flat, progressive=progressive, optimize=True))
    assert images.load_image(tmp_path / "a.jpg").shape == (1024, 1024, 3)


def save_palette(path, palette):
    image = Image.frombytes("P", (4, 4), bytes(16))
    image.putpalette(np.asarray(palette, np.uint8).tobytes())
    image.save(path)
    return path


def test_palettes_of_others_are_warned_of_once_a_folder(tmp_path, caplog):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    strange = [save_palette(tmp_path / "a" / f"{i}.png", PALETTE[::-1]) for i in range(3)]
    fine = [
        save_palette(tmp_path / "b" / "ours.png", PALETTE),
        save_palette(tmp_path / "b" / "ours_cut.png", PALETTE[:5]),
        save_palette(tmp_path / "b" / "gray.png", np.arange(256)[:, None].repeat(3, 1)),
    ]
    images.save_png(tmp_path / "b" / "none.png", np.zeros((4, 4), np.uint8))
    images.warn_of_palettes([*fine, tmp_path / "b" / "none.png", *strange, tmp_path / "b" / "absent.png"])
    (message,) = caplog.messages
    assert f"{strange[0]} (and 2 more there)" in message and "0 mountain, 1 sky" in message


def test_shrinking_averages_areas_and_growing_is_cubic(tmp_path):
    array = photo(9, 12)
    images.save_png(tmp_path / "a.png", array)
    third = images.load_image(tmp_path / "a.png", size=Size(3, 4))
    blocks = array.reshape(3, 3, 4, 3, 3).mean((1, 3))
    assert np.abs(third - blocks).max() <= 0.5 + 1e-6
    grown = images.load_image(tmp_path / "a.png", size=Size(20, 24))
    np.testing.assert_array_equal(grown, cv2.resize(array, (24, 20), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_empty_foreign_and_missing_files_are_named(tmp_path, suffix):
    good, bad = tmp_path / f"good{suffix}", tmp_path / f"bad{suffix}"
    (images.save_jpeg if suffix == ".jpg" else images.save_png)(good, photo(64, 64))
    bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    assert "cannot be read" in error_of(images.load_image, bad)
    bad.write_bytes(b"")
    assert "empty file" in error_of(images.load_image, bad)
    bad.write_bytes(b"not an image at all")
    assert "not a readable" in error_of(images.load_image, bad)
    assert "no such file" in error_of(images.load_image, tmp_path / "missing.jpg")
    assert "not a file" in error_of(images.load_image, tmp_path)


@pytest.mark.parametrize("side", [9000, 20000])
def test_absurd_sizes_are_refused_before_decoding(tmp_path, side):
    path = raw_png(tmp_path / "bomb.png", side, side, 8, 2)
    for function in (images.load_image, images.load_mask, images.read_size):
        assert "pixels" in error_of(function, path)  # decoding first would complain about the missing data


def test_the_pixel_limit_is_the_stated_one(tmp_path, monkeypatch):
    images.save_png(tmp_path / "a.png", photo(12, 16))
    monkeypatch.setattr(images, "MAX_PIXELS", 12 * 16)
    assert images.load_image(tmp_path / "a.png").shape == (12, 16, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 12 * 16 - 1)
    assert "16x12 pixels" in error_of(images.load_image, tmp_path / "a.png")


def test_16_bit_photos_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(tmp_path / "a.png")
    assert "8-bit" in error_of(images.load_image, tmp_path / "a.png")


@pytest.mark.parametrize("as_palette", [False, True])
def test_masks_give_their_labels(tmp_path, as_palette):
    mask = RNG.integers(0, 29, (6, 7), dtype=np.uint8)
    image = Image.fromarray(mask)
    if as_palette:
        image = Image.frombytes("P", image.size, mask.tobytes())
        image.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.load_mask(tmp_path / "a.png"), mask)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1"])
def test_masks_of_other_modes_are_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    assert f"mode {mode}" in error_of(images.load_mask, tmp_path / "a.png")


def test_16_bit_4_bit_and_jpeg_masks_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.uint16)).save(tmp_path / "deep.png")
    assert "mode I" in error_of(images.load_mask, tmp_path / "deep.png")
    raw_png(tmp_path / "shallow.png", 2, 2, 4, 0, rows=b"\0\x01" * 2)
    assert "4-bit" in error_of(images.load_mask, tmp_path / "shallow.png")
    Image.new("L", (4, 4)).save(tmp_path / "lossy.png", format="JPEG")
    assert "not a readable PNG" in error_of(images.load_mask, tmp_path / "lossy.png")


@pytest.mark.parametrize("labels", [[29], [255], [29, 255]])
def test_labels_out_of_range_are_listed(tmp_path, labels):
    mask = np.zeros((4, 4), np.uint8)
    mask[0, : len(labels)] = labels
    images.save_png(tmp_path / "a.png", mask)
    assert f"label {', '.join(map(str, labels))} outside 0-28" in error_of(images.load_mask, tmp_path / "a.png")


def test_a_long_list_of_labels_is_cut(tmp_path):
    images.save_png(tmp_path / "a.png", np.arange(20, 60, dtype=np.uint8)[None])
    assert "label 29, 30, 31, 32, 33, 34, 35, 36 and 23 more" in error_of(images.load_mask, tmp_path / "a.png")


@pytest.mark.parametrize("size", [Size(5, 7), Size(2, 3), Size(10, 14), Size(3, 20), Size(1, 1)])
def test_resize_mask_follows_the_floor_convention(size):
    mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
    resized = images.resize_mask(mask, size)
    assert resized.shape == size and resized.dtype == np.uint8
    for row in range(size.height):
        for column in range(size.width):
            assert resized[row, column] == mask[row * 5 // size.height, column * 7 // size.width]


def test_resize_mask_equals_opencv_on_halving():
    mask = RNG.integers(0, 29, (8, 12), dtype=np.uint8)
    expected = cv2.resize(mask, (6, 4), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(images.resize_mask(mask, Size(4, 6)), expected)


def test_load_mask_resizes_to_the_size_asked_for(tmp_path):
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    images.save_png(tmp_path / "a.png", mask)
    np.testing.assert_array_equal(images.load_mask(tmp_path / "a.png", Size(4, 4)), mask.repeat(2, 0).repeat(2, 1))


def test_saving_is_atomic_and_faithful(tmp_path):
    array = cv2.GaussianBlur(photo(48, 64), (0, 0), 4)
    images.save_jpeg(tmp_path / "a.jpg", array)
    assert np.abs(images.load_image(tmp_path / "a.jpg").astype(int) - array).mean() < 2
    images.save_png(tmp_path / "a.png", array)
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png"), array)
    with pytest.raises((TypeError, ValueError)):
        images.save_jpeg(tmp_path / "a.jpg", array.astype(np.float64))
    assert sorted(os.listdir(tmp_path)) == ["a.jpg", "a.png"]
    assert images.load_image(tmp_path / "a.jpg").shape == (48, 64, 3)


@pytest.mark.parametrize("quality", [75, 30])
def test_a_jpeg_round_trip_is_what_a_file_gives_back(tmp_path, quality):
    array = cv2.GaussianBlur(photo(48, 64), (0, 0), 2)
    Image.fromarray(array).save(tmp_path / "a.jpg", quality=quality)
    np.testing.assert_array_equal(images.jpeg_round_trip(array, quality), images.load_image(tmp_path / "a.jpg"))


def test_read_size_gives_height_then_width(tmp_path):
    images.save_png(tmp_path / "a.png", photo(12, 16))
    assert images.read_size(tmp_path / "a.png") == (12, 16)


@pytest.mark.parametrize("quality", [1, 50, 75, 89, 90, 95, 100])
def test_jpeg_quality_is_read_back(tmp_path, quality):
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    images.save_jpeg(tmp_path / "pillow.jpg", image, quality)
    cv2.imwrite(str(tmp_path / "opencv.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert images.read_jpeg_quality(tmp_path / "pillow.jpg") == quality
    assert images.read_jpeg_quality(tmp_path / "opencv.jpg") == quality
