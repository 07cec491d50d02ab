from __future__ import annotations

import os

import numpy as np
import pytest

from jiidm.data import latents
from jiidm.data.images import load_image, load_mask, save_jpeg
from jiidm.data.latents import LatentDataset, encode_dataset
from jiidm.data.pairs import find_pairs
from jiidm.model.files import load_model
from ldm_jittor.pixels import to_model

SIZE, FACTOR = (64, 48), 4


@pytest.fixture(scope="module")
def autoencoder(smoke_model):
    return load_model(smoke_model).space.autoencoder


@pytest.fixture(scope="module")
def pairs(landscapes):
    return find_pairs(landscapes)


@pytest.fixture(scope="module")
def cache(autoencoder, pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache") / "deep" / "latents"
    encode_dataset(autoencoder, pairs, folder, SIZE, FACTOR)
    return folder


def contents(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.iterdir())}


def arrays_of(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_one_file_per_pair_and_nothing_else(cache, pairs):
    assert sorted(path.name for path in cache.iterdir()) == [f"{pair.stem}.npz" for pair in pairs]
    for path in cache.iterdir():
        arrays = arrays_of(path)
        assert arrays["latents"].shape == (2, 3, 12, 16) and arrays["latents"].dtype == np.float32
        assert arrays["masks"].shape == (2, 12, 16) and arrays["masks"].dtype == np.uint8


def test_latents_equal_encoding_each_image_and_its_mirror_alone(cache, pairs, autoencoder):
    for pair in (pairs[0], pairs[-1]):
        image = load_image(pair.image)
        expected = [autoencoder.encode(to_model([picture])).numpy()[0] for picture in (image, image[:, ::-1])]
        assert abs(expected[0] - expected[1]).max() > 0.01
        np.testing.assert_allclose(arrays_of(cache / f"{pair.stem}.npz")["latents"], expected, atol=1e-4)


def test_masks_are_flipped_before_they_shrink(cache, pairs):
    order_matters = False
    for pair in pairs:
        mask = load_mask(pair.label)
        plain, flipped = arrays_of(cache / f"{pair.stem}.npz")["masks"]
        np.testing.assert_array_equal(plain, mask[::FACTOR, ::FACTOR])
        np.testing.assert_array_equal(flipped, np.fliplr(mask)[::FACTOR, ::FACTOR])
        order_matters |= not np.array_equal(flipped, np.fliplr(plain))
    assert order_matters


def test_a_second_call_writes_nothing(cache, pairs, autoencoder, monkeypatch):
    before = contents(cache)
    monkeypatch.setattr(type(autoencoder), "encode", lambda *_: pytest.fail("encoded again"))
    encode_dataset(autoencoder, pairs, cache, SIZE, FACTOR)
    assert contents(cache) == before


def test_an_interrupted_call_goes_on(cache, pairs, autoencoder, tmp_path, monkeypatch):
    folder = tmp_path / "latents"
    read, opened = latents.load_image, []

    def interrupt(path, size):
        opened.append(path)
        if len(opened) == 6:
            raise KeyboardInterrupt
        return read(path, size)

    monkeypatch.setattr(latents, "load_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        encode_dataset(autoencoder, pairs, folder, SIZE, FACTOR)
    half = contents(folder)
    assert len(half) == latents.IMAGES_PER_BATCH
    monkeypatch.setattr(latents, "load_image", read)
    encode_dataset(autoencoder, pairs, folder, SIZE, FACTOR)
    after = contents(folder)
    assert after.keys() == contents(cache).keys() and half.items() <= after.items()


def test_one_deleted_file_is_made_again_and_only_that(cache, pairs, autoencoder, tmp_path):
    folder = tmp_path / "latents"
    encode_dataset(autoencoder, pairs, folder, SIZE, FACTOR)
    before, lost = contents(folder), f"{pairs[2].stem}.npz"
    os.remove(folder / lost)
    encode_dataset(autoencoder, pairs, folder, SIZE, FACTOR)
    after = contents(folder)
    assert {name: entry for name, entry in after.items() if name != lost}.items() <= before.items()
    np.testing.assert_allclose(arrays_of(folder / lost)["latents"], arrays_of(cache / lost)["latents"], atol=1e-4)


def test_photos_of_another_size_are_brought_to_the_models(autoencoder, pairs, tmp_path):
    import dataclasses

    save_jpeg(tmp_path / "large.jpg", load_image(pairs[0].image, (128, 96)))
    pair = dataclasses.replace(pairs[0], image=tmp_path / "large.jpg")
    encode_dataset(autoencoder, [pair], tmp_path / "latents", SIZE, FACTOR)
    assert arrays_of(tmp_path / "latents" / f"{pair.stem}.npz")["latents"].shape == (2, 3, 12, 16)


def test_the_dataset_scales_latents_and_leaves_masks(cache, pairs):
    stems = [pair.stem for pair in pairs]
    dataset = LatentDataset(cache, stems, 0.5)
    assert len(dataset) == len(pairs)
    for flip in (0, 1):
        stored = arrays_of(cache / f"{stems[3]}.npz")
        latent, mask = dataset[3, flip]
        assert latent.dtype == np.float32 and mask.dtype == np.uint8
        np.testing.assert_array_equal(latent, stored["latents"][flip] * np.float32(0.5))
        np.testing.assert_array_equal(mask, stored["masks"][flip])
