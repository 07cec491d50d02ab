from __future__ import annotations

import os

import numpy as np
import pytest
from networks import Brightness
from PIL import Image

from jiidm.data import images
from jiidm.errors import InputError
from jiidm.evaluate import metrics
from jiidm.evaluate.statistics import find_photos, photo_statistics
from jiidm.size import Size

SIZE = Size(height=24, width=32)

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(11):  # more than a batch
        photo = np.random.default_rng(number).integers(0, 20 * (number + 1), (24, 32, 3)).astype(np.uint8)
        images.save_png(tmp_path / "photos" / f"{number}.png", photo)
    return tmp_path / "photos"


def test_statistics_are_those_of_all_features(folder):
    network = Brightness()
    mu, sigma = photo_statistics(find_photos(folder), SIZE, network)
    colors = np.stack([images.load_image(path).mean(axis=(0, 1)) for path in sorted(folder.iterdir())])
    assert network.seen == 11
    assert np.allclose(mu, colors.mean(axis=0)) and np.allclose(sigma, np.cov(colors.T), rtol=1e-5)


def test_a_second_call_reads_the_cache(folder, cache, caplog):
    caplog.set_level("INFO", "jiidm")
    photos = find_photos(folder)
    first = photo_statistics(photos, SIZE, Brightness())
    again = Brightness()
    second = photo_statistics(photos, SIZE, again)
    assert again.seen == 0 and all(np.array_equal(a, b) for a, b in zip(first, second))
    (file,) = cache.iterdir()
    assert str(file) in caplog.text
    with np.load(file) as stored:
        assert metrics.frechet_distance(stored["mu"], stored["sigma"], *first) < 1e-6


def with_another_photo(folder, network):
    (folder / "3.png").unlink()


def with_a_changed_photo(folder, network):
    before = (folder / "3.png").stat()
    images.save_png(folder / "3.png", 255 - images.load_image(folder / "3.png"))
    with open(folder / "3.png", "ab") as file:
        file.write(bytes(before.st_size - (folder / "3.png").stat().st_size))  # decoders ignore what follows the end
    os.utime(folder / "3.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (folder / "3.png").stat().st_size == before.st_size


def with_other_weights(folder, network):
    network.sha256 = "1" * 64


def with_other_preprocessing(folder, network):
    network.preprocessing = {"resize": [8, 8]}


@pytest.mark.parametrize(
    "change", [with_another_photo, with_a_changed_photo, with_other_weights, with_other_preprocessing]
)
def test_a_change_is_computed_anew(folder, change):
    photo_statistics(find_photos(folder), SIZE, Brightness())
    network = Brightness()
    change(folder, network)
    photos = find_photos(folder)
    photo_statistics(photos, SIZE, network)
    assert network.seen == len(photos)


def test_photos_of_another_date_are_the_same(folder):
    photo_statistics(find_photos(folder), SIZE, Brightness())
    os.utime(folder / "3.png", (0, 0))
    network = Brightness()
    photo_statistics(find_photos(folder), SIZE, network)
    assert network.seen == 0


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half", b"no archive"])
def test_a_damaged_cache_is_computed_anew(folder, cache, content):
    photos = find_photos(folder)
    photo_statistics(photos, SIZE, Brightness())
    (file,) = cache.iterdir()
    file.write_bytes(content)
    network = Brightness()
    photo_statistics(photos, SIZE, network)
    assert network.seen == 11


def test_a_cache_that_cannot_be_written_costs_time_only(folder, cache, caplog):
    cache.parent.write_text("a file in the way")
    mu, _ = photo_statistics(find_photos(folder), SIZE, Brightness())
    assert len(mu) == 3 and "cannot be written" in caplog.text


def test_photos_of_a_data_folder_are_its_images(folder):
    root = folder.parent / "data"
    (root / "imgs").mkdir(parents=True)
    for name in ("a.jpg", "b.JPG", ".hidden.jpg", "notes.txt"):
        (root / "imgs" / name).touch()
    assert [path.name for path in find_photos(root)] == ["a.jpg", "b.JPG"]


def test_too_few_photos_are_refused(folder):
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()
    with pytest.raises(InputError, match="photos: 1 real photos; .* at least 2"):
        find_photos(folder)
    with pytest.raises(InputError, match="nowhere: cannot list"):
        find_photos(folder / "nowhere")


@pytest.mark.parametrize("create", [lambda path: path.mkdir(), lambda path: path.symlink_to("nowhere.png")])
def test_what_is_named_like_a_photo_and_is_none_is_refused(folder, create):
    create(folder / "x.png")
    with pytest.raises(InputError, match=r"x\.png: not a file"):
        find_photos(folder)


def test_unequal_sizes_are_refused_before_the_network_runs(folder):
    images.save_png(folder / "zz.png", np.zeros((24, 40, 3), np.uint8))
    network = Brightness()
    with pytest.raises(InputError, match=r"zz\.png: 40x24, the outputs are 32x24"):
        photo_statistics(find_photos(folder), SIZE, network)
    assert network.seen == 0


def test_a_photo_that_lies_on_its_side_by_exif_has_another_size(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE[::-1]).save(folder / "turned.jpg", exif=exif)
    with pytest.raises(InputError, match=r"turned\.jpg: 24x32, the outputs are 32x24"):
        photo_statistics(find_photos(folder), SIZE, Brightness())


def test_a_damaged_photo_is_named(folder):
    (folder / "5.png").write_bytes((folder / "5.png").read_bytes()[:200])
    with pytest.raises(InputError, match=r"5\.png"):
        photo_statistics(find_photos(folder), SIZE, Brightness())
