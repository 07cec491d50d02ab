from __future__ import annotations

import dataclasses
import hashlib
import math

import cv2
import jittor as jt
import numpy as np
import pytest

from jiidm import pipeline
from jiidm.config import load as configs
from jiidm.config.schema import Round
from jiidm.data.images import load_image
from jiidm.data.synthetic.dataset import landscape
from jiidm.model.files import load_model
from jiidm.pipeline import IIDMPipeline

SIZE = (64, 48)
NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def model(smoke_model):
    return load_model(smoke_model)


@pytest.fixture(scope="module")
def masks():
    return [landscape(index, SIZE)[1] for index in range(3)]


@pytest.fixture(scope="module")
def references(landscapes):
    return [load_image(landscapes / "imgs" / f"synth_{index:06d}.jpg") for index in range(3)]


@pytest.fixture(scope="module")
def together(model, masks, references):
    return IIDMPipeline(model, seed=1)(masks, references, NAMES)


def with_inference(model, **changes):
    config = model.config
    return model._replace(
        config=dataclasses.replace(config, inference=dataclasses.replace(config.inference, **changes))
    )


def largest_difference(a, b):
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def by_hand(images):
    return jt.array(np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def pixels(x):
    return np.clip(np.round((x.numpy().transpose(0, 2, 3, 1) + 1) * 127.5), 0, 255)


def test_one_image_of_the_models_size_per_mask(together):
    for images in together:
        assert images.shape == (3, 48, 64, 3) and images.dtype == np.uint8
        assert len({image.tobytes() for image in images}) == 3
    assert together.images.std() > 5


@pytest.mark.parametrize("index", range(3))
def test_an_image_does_not_depend_on_its_batch(together, model, masks, references, index):
    alone = IIDMPipeline(model, seed=1)([masks[index]], [references[index]], [NAMES[index]])
    np.testing.assert_array_equal(alone.images[0], together.images[index])
    np.testing.assert_array_equal(alone.starts[0], together.starts[index])


def test_nor_on_its_place_or_on_what_was_painted_before(together, model, masks, references):
    painter = IIDMPipeline(model, seed=1)
    for _ in range(2):
        turned = painter(masks[::-1], references[::-1], NAMES[::-1])
        np.testing.assert_array_equal(turned.images[::-1], together.images)


def test_batches_hold_what_the_memory_for_modulations_holds(model):
    width, height = model.config.latent_size
    gib = 4 * model.unet.modulation_elements((height, width)) / 2**30
    for memory, size in ((0.5 * gib, 1), (3.5 * gib, 3), (99 * gib, 5)):
        assert IIDMPipeline(with_inference(model, batch_size=5, modulation_memory=memory)).batch_size == size


def test_the_same_call_gives_the_same_bytes(together, model, masks, references):
    again = IIDMPipeline(model, seed=1)(masks, references, NAMES)
    np.testing.assert_array_equal(again.images, together.images)


def test_mask_reference_name_and_seed_all_matter(together, model, masks, references):
    painter = IIDMPipeline(model, seed=1)
    first = (masks[0], references[0], "a")
    for mask, reference, name, seed in [(masks[1], *first[1:], 1), (first[0], references[1], "a", 1)] + [
        (*first[:2], "z", 1),
        (*first, 2),
    ]:
        painter = IIDMPipeline(model, seed)
        assert largest_difference(painter([mask], [reference], [name]).images[0], together.images[0]) > 5


@pytest.mark.parametrize("spec", [Round(200, 1), Round(180, 1, noise_timestep=200)], ids=["start", "other"])
def test_the_start_is_the_encoded_reference_noised_to_exactly_that_timestep(model, masks, references, spec):
    """D(sqrt(abar) E(x) + sqrt(1 - abar) eps), the noise and abar computed here."""
    batch = IIDMPipeline(with_inference(model, rounds=(spec,)), seed=7)(masks[:1], references[:1], ["a"])
    digest = hashlib.sha256(repr((7, "a", 0, "start")).encode()).digest()
    bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    eps = np.random.Generator(bits).standard_normal((1, 3, 12, 16), dtype=np.float32)
    abar = math.prod(1 - (1e-4 + t * (2e-2 - 1e-4) / 999) for t in range(201))
    autoencoder, scale = model.space.autoencoder, model.config.autoencoder.latent_scale
    with jt.no_grad():
        z = math.sqrt(abar) * autoencoder.encode(by_hand(references[:1])) * scale + math.sqrt(1 - abar) * jt.array(eps)
        expected = pixels(autoencoder.decode(z / scale))
    assert largest_difference(batch.starts, expected) <= 1


def test_every_step_of_every_round_is_reported(model, masks, references):
    steps = []
    IIDMPipeline(model)(masks[:2], references[:2], NAMES[:2], lambda: steps.append(1))
    assert len(steps) == sum(spec.num_steps for spec in model.config.inference.rounds) == 5


def test_the_sampler_gets_the_rounds_timesteps(model, masks, references, monkeypatch):
    seen = {}
    for name, sample in pipeline.SAMPLERS.items():

        def spy(denoiser, z, timesteps, name=name, sample=sample, **options):
            seen[name] = (list(timesteps), denoiser.guidance_scale)
            return sample(denoiser, z, timesteps, **options)

        monkeypatch.setitem(pipeline.SAMPLERS, name, spy)
    rounds = (Round(600, 3), Round(50, 2, "ddpm", 2.0), Round(8, 3, "dpmpp_2m"))
    IIDMPipeline(with_inference(model, rounds=rounds))(masks[:1], references[:1], ["a"])
    assert {name: guidance for name, (_, guidance) in seen.items()} == {"ddim": 1.0, "ddpm": 2.0, "dpmpp_2m": 1.0}
    for spec in rounds:
        timesteps = seen[spec.sampler][0]
        assert timesteps[0] == spec.start_timestep and len(timesteps) == spec.num_steps
        assert all(later < earlier for earlier, later in zip(timesteps, timesteps[1:])) and timesteps[-1] >= 0


def test_the_released_last_round_is_sampled_at_its_chains_timesteps(model, masks, references, monkeypatch):
    seen = []
    monkeypatch.setitem(pipeline.SAMPLERS, "ddim", lambda denoiser, z, timesteps, **_: seen.append(timesteps) or z)
    last = configs.load_config("iidm_released").inference.rounds[-1]
    IIDMPipeline(with_inference(model, rounds=(last,)))(masks[:1], references[:1], ["a"])
    assert seen == [list(range(380, -1, -20))]


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp_2m"])
def test_no_sampler_depends_on_the_batch(model, masks, references, sampler):
    model = with_inference(model, rounds=(Round(100, 3, sampler, 1.5),))
    together = IIDMPipeline(model)(masks, references, NAMES)
    alone = IIDMPipeline(model)(masks[2:], references[2:], NAMES[2:])
    np.testing.assert_array_equal(alone.images[0], together.images[2])


def test_a_round_begins_with_the_last_ones_result_in_the_references_colours(model, masks, references, monkeypatch):
    first, second = Round(100, 2), Round(100, 2, color_transfer=True)
    after_one = IIDMPipeline(with_inference(model, rounds=(first,)))(masks[:2], references[:2], NAMES[:2])
    calls = []

    def transfer(source, reference, space):
        calls.append((source, reference, space))
        return reference

    monkeypatch.setattr(pipeline, "color_transfer", transfer)
    IIDMPipeline(with_inference(model, rounds=(first, second), color_space="lalphabeta"))(
        masks[:2], references[:2], NAMES[:2]
    )
    assert len(calls) == 2
    for (source, reference, space), image, photo in zip(calls, after_one.images, references):
        assert largest_difference(source, image) <= 1 and space == "lalphabeta"
        np.testing.assert_array_equal(reference, photo)


class Space:
    """A latent space that notes what it is given to encode."""

    def __init__(self, space):
        self.decode, self.space, self.encoded = space.decode, space, []

    def encode(self, x):
        self.encoded.append(pixels(x))
        return self.space.encode(x)


def test_images_go_through_jpeg_files_between_rounds(model, masks, references, monkeypatch):
    """Decimals cut off, a JPEG, colour transfer, another JPEG; nothing before the first round or after the last."""
    first, second = Round(100, 2), Round(100, 2, color_transfer=True)
    rounded = IIDMPipeline(with_inference(model, rounds=(first,)))(masks[:1], references[:1], ["a"]).images[0]
    files, colored = [], rounded[::-1].copy()

    def transfer(source, reference, space):
        np.testing.assert_array_equal(source, through_file(files[0]))
        return colored

    def through_file(image):
        encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1]

    def record(image, quality):
        assert quality == 20
        files.append(image)
        return through_file(image)

    monkeypatch.setattr(pipeline, "jpeg_round_trip", record)
    monkeypatch.setattr(pipeline, "color_transfer", transfer)
    spied = with_inference(model, rounds=(first, second), jpeg_between_rounds=20)._replace(space=Space(model.space))
    IIDMPipeline(spied)(masks[:1], references[:1], ["a"])
    cut, after_transfer = files
    lost = rounded.astype(int) - cut
    assert set(np.unique(lost)) == {0, 1} and 0.3 < lost[(cut > 0) & (cut < 255)].mean() < 0.7
    np.testing.assert_array_equal(after_transfer, colored)
    np.testing.assert_array_equal(spied.space.encoded[0][0], references[0])
    np.testing.assert_array_equal(spied.space.encoded[1][0], through_file(colored))


def test_rounds_draw_other_noise(model, masks, references, monkeypatch):
    keys = []

    def record(shape, *key):
        keys.append(key)
        return np.zeros(shape, np.float32)

    monkeypatch.setattr(pipeline, "normal", record)
    rounds = (Round(100, 2, "ddpm"), Round(100, 2, "ddpm"))
    IIDMPipeline(with_inference(model, rounds=rounds), seed=9)(masks[:1], references[:1], ["a"])
    assert len(keys) == len(set(keys)) and {key[:2] for key in keys} == {(9, "a")}
    assert {key[2] for key in keys} == {0, 1}


@pytest.mark.parametrize("rounds", [(Round(999, 2),), (Round(999, 2), Round(100, 1))], ids=["one", "two"])
def test_from_noise_the_first_round_starts_without_the_reference(model, masks, references, rounds):
    """Its start is the noise itself, decoded, and another reference changes no pixel."""
    painter = IIDMPipeline(with_inference(model, rounds=rounds), seed=7, from_noise=True)
    batch = painter(masks[:1], references[:1], ["a"])
    digest = hashlib.sha256(repr((7, "a", 0, "start")).encode()).digest()
    bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    eps = np.random.Generator(bits).standard_normal((1, 3, 12, 16), dtype=np.float32)
    with jt.no_grad():
        expected = pixels(model.space.autoencoder.decode(jt.array(eps) / model.config.autoencoder.latent_scale))
    assert largest_difference(batch.starts, expected) <= 1
    np.testing.assert_array_equal(painter(masks[:1], references[1:2], ["a"]).images, batch.images)
    assert largest_difference(painter(masks[1:2], references[:1], ["a"]).images, batch.images) > 5
