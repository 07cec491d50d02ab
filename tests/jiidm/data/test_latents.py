from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from jiidm.data import latents
from jiidm.data.identity import hash_files
from jiidm.data.images import load_image, load_mask, save_jpeg, save_png
from jiidm.data.latents import LatentDataset, encode_dataset
from jiidm.data.pairs import files_of, find_pairs
from jiidm.errors import InputError
from jiidm.model.files import load_model
from jiidm.size import Size
from jiidm.system.shards import Shard
from ldm_jittor.files import read_json
from ldm_jittor.pixels import to_model

SIZE, FACTOR = Size(height=48, width=64), 4


def encode(autoencoder, pairs, folder, weights="a" * 64, size=SIZE):
    encode_dataset(autoencoder, weights, pairs, hash_files(files_of(pairs)), folder, size, FACTOR)


@pytest.fixture(scope="module")
def autoencoder(smoke_model):
    return load_model(smoke_model).space.autoencoder


@pytest.fixture(scope="module")
def pairs(landscapes):
    return find_pairs(landscapes)


@pytest.fixture(scope="module")
def cache(autoencoder, pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache") / "deep" / "latents"
    encode(autoencoder, pairs, folder)
    return folder


def contents(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.iterdir())}


def arrays_of(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_one_file_per_pair_and_what_made_them(cache, pairs):
    assert read_json(cache / "latents.json")["size"] == [64, 48]  # width first
    names = ["latents.json", *(f"{pair.stem}.npz" for pair in pairs)]
    assert sorted(path.name for path in cache.iterdir()) == names
    for path in cache.glob("*.npz"):
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
    encode(autoencoder, pairs, cache)
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
        encode(autoencoder, pairs, folder)
    half = contents(folder)
    assert len(half) == 1 + latents.IMAGES_PER_BATCH
    monkeypatch.setattr(latents, "load_image", read)
    encode(autoencoder, pairs, folder)
    after = contents(folder)
    assert after.keys() == contents(cache).keys() and half.items() <= after.items()


def test_one_deleted_file_is_made_again_and_only_that(cache, pairs, autoencoder, tmp_path):
    folder = tmp_path / "latents"
    encode(autoencoder, pairs, folder)
    before, lost = contents(folder), f"{pairs[2].stem}.npz"
    os.remove(folder / lost)
    encode(autoencoder, pairs, folder)
    after = contents(folder)
    assert {name: entry for name, entry in after.items() if name != lost}.items() <= before.items()
    np.testing.assert_allclose(arrays_of(folder / lost)["latents"], arrays_of(cache / lost)["latents"], atol=1e-4)


def test_latents_that_are_made_again_are_the_same_to_the_bit(cache, pairs, autoencoder, tmp_path):
    folder = shutil.copytree(cache, tmp_path / "latents")
    for number in (1, 2, 5):  # of both batches
        os.remove(folder / f"{pairs[number].stem}.npz")
    encode(autoencoder, pairs, folder)
    for pair in pairs:
        for name, array in arrays_of(cache / f"{pair.stem}.npz").items():
            np.testing.assert_array_equal(arrays_of(folder / f"{pair.stem}.npz")[name], array)


class TestIdentity:
    @pytest.fixture
    def root(self, landscapes, tmp_path):
        return shutil.copytree(landscapes, tmp_path / "data")

    @pytest.fixture
    def folder(self, cache, tmp_path):
        return shutil.copytree(cache, tmp_path / "latents")

    def test_another_mask_or_photo_of_the_same_name_is_encoded_again_and_only_that(
        self, root, folder, autoencoder, caplog
    ):
        caplog.set_level("INFO", "jiidm")
        pairs, before = find_pairs(root), contents(folder)
        save_png(pairs[1].label, np.full(SIZE, 2, np.uint8))
        save_jpeg(pairs[4].image, np.zeros((*SIZE, 3), np.uint8))
        encode(autoencoder, pairs, folder)
        changed = [name for name, entry in contents(folder).items() if entry != before[name]]
        assert changed == [f"{pairs[number].stem}.npz" for number in (1, 4)]
        assert np.unique(arrays_of(folder / changed[0])["masks"]).tolist() == [2]
        np.testing.assert_allclose(
            arrays_of(folder / changed[1])["latents"][0],
            autoencoder.encode(to_model([load_image(pairs[4].image)])).numpy()[0],
            atol=1e-4,
        )
        told = f"{folder} holds 2 files that are damaged or of another photo or mask, the first {changed[0]}"
        assert caplog.messages == [f"{told}: encoding them again"]

    @pytest.mark.parametrize("damage", ["unrecorded", "torn", "a flipped bit", "without masks"])
    def test_a_file_that_does_not_say_what_it_is_of_is_encoded_again(self, folder, pairs, autoencoder, cache, damage):
        path = folder / f"{pairs[0].stem}.npz"
        if damage == "torn":
            os.truncate(path, 100)
        elif damage == "a flipped bit":
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
            with pytest.raises(InputError, match=f"{path.name}: damaged"):
                LatentDataset(folder, [pairs[0].stem], 1.0)[0, 0]
        elif damage == "without masks":
            np.savez(path, **{name: array for name, array in arrays_of(path).items() if name != "masks"})
        else:  # an older version's
            np.savez(path, latents=np.zeros((2, 3, 12, 16), np.float32), masks=np.zeros((2, 12, 16), np.uint8))
        encode(autoencoder, pairs, folder)
        np.testing.assert_array_equal(arrays_of(path)["latents"], arrays_of(cache / path.name)["latents"])

    @pytest.mark.parametrize(
        ("other", "told"),
        [
            ({"weights": "b" * 64}, "autoencoder (aaaaaaaaaaaa..., now bbbbbbbbbbbb...)"),
            ({"size": Size(24, 32)}, "size.0"),
        ],
    )
    def test_latents_of_another_autoencoder_or_size_are_refused(self, folder, pairs, autoencoder, other, told):
        before = contents(folder)
        with pytest.raises(InputError) as caught:
            encode(autoencoder, pairs, folder, **other)
        assert str(caught.value).startswith(f"{folder / 'latents.json'}: made with another {told}")
        assert contents(folder) == before

    def test_a_photo_that_changes_meanwhile_is_told(self, root, autoencoder, tmp_path):
        pairs = find_pairs(root)
        hashes = hash_files(files_of(pairs))
        save_jpeg(pairs[0].image, np.zeros((*SIZE, 3), np.uint8))
        with pytest.raises(InputError, match="synth_000000.jpg: changed while it was in use"):
            encode_dataset(autoencoder, "a" * 64, pairs, hashes, tmp_path / "latents", SIZE, FACTOR)
        assert list((tmp_path / "latents").glob("*.npz")) == []


def test_photos_of_another_size_are_brought_to_the_models(autoencoder, pairs, tmp_path):
    import dataclasses

    save_jpeg(tmp_path / "large.jpg", load_image(pairs[0].image, Size(96, 128)))
    pair = dataclasses.replace(pairs[0], image=tmp_path / "large.jpg")
    encode(autoencoder, [pair], tmp_path / "latents")
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


def test_shards_write_the_same_bytes(cache, autoencoder, pairs, tmp_path):
    hashes = hash_files(files_of(pairs))
    for number, found in ((2, 2), (1, 6)):  # six pairs are a batch of four and one of two
        encode_dataset(autoencoder, "a" * 64, pairs, hashes, tmp_path, SIZE, FACTOR, Shard(number, 2))
        assert len(list(tmp_path.glob("*.npz"))) == found
    assert [content for _, content in contents(tmp_path).values()] == [
        content for _, content in contents(cache).values()
    ]
