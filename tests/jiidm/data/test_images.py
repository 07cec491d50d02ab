from __future__ import annotations

import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from jiidm.data import images
from jiidm.errors import InputError

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


def test_shrinking_averages_areas_and_growing_is_cubic(tmp_path):
    array = photo(9, 12)
    images.save_png(tmp_path / "a.png", array)
    third = images.load_image(tmp_path / "a.png", size=(4, 3))
    blocks = array.reshape(3, 3, 4, 3, 3).mean((1, 3))
    assert np.abs(third - blocks).max() <= 0.5 + 1e-6
    grown = images.load_image(tmp_path / "a.png", size=(24, 20))
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


@pytest.mark.parametrize("size", [(7, 5), (3, 2), (14, 10), (20, 3), (1, 1)])
def test_resize_mask_follows_the_floor_convention(size):
    mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
    resized = images.resize_mask(mask, size)
    assert resized.shape == (size[1], size[0]) and resized.dtype == np.uint8
    for row in range(size[1]):
        for column in range(size[0]):
            assert resized[row, column] == mask[row * 5 // size[1], column * 7 // size[0]]


def test_resize_mask_equals_opencv_on_halving():
    mask = RNG.integers(0, 29, (8, 12), dtype=np.uint8)
    expected = cv2.resize(mask, (6, 4), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(images.resize_mask(mask, (6, 4)), expected)


def test_load_mask_resizes_to_the_size_asked_for(tmp_path):
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    images.save_png(tmp_path / "a.png", mask)
    np.testing.assert_array_equal(images.load_mask(tmp_path / "a.png", (4, 4)), mask.repeat(2, 0).repeat(2, 1))


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


def test_read_size_gives_width_then_height(tmp_path):
    images.save_png(tmp_path / "a.png", photo(12, 16))
    assert images.read_size(tmp_path / "a.png") == (16, 12)


@pytest.mark.parametrize("quality", [1, 50, 75, 89, 90, 95, 100])
def test_jpeg_quality_is_read_back(tmp_path, quality):
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    images.save_jpeg(tmp_path / "pillow.jpg", image, quality)
    cv2.imwrite(str(tmp_path / "opencv.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert images.read_jpeg_quality(tmp_path / "pillow.jpg") == quality
    assert images.read_jpeg_quality(tmp_path / "opencv.jpg") == quality
