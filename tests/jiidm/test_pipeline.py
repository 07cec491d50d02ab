from __future__ import annotations

import dataclasses
import hashlib
import math

import jittor as jt
import numpy as np
import pytest
from arrays import largest_difference

from jiidm import pipeline
from jiidm.config.schema import Round
from jiidm.data.images import load_image, load_mask, save_jpeg, save_png
from jiidm.data.synthetic.dataset import landscape
from jiidm.errors import InputError
from jiidm.model.files import load_model
from jiidm.pipeline import Hooks, Input, Pipeline
from jiidm.size import Size
from ldm_jittor.denoiser import Settings
from ldm_jittor.samplers import SAMPLERS

SIZE = Size(height=48, width=64)


@pytest.fixture(scope="module")
def model(smoke_model):
    return load_model(smoke_model)


@pytest.fixture(scope="module")
def inputs(landscapes):
    photos = [load_image(landscapes / "imgs" / f"synth_{index:06d}.jpg") for index in range(3)]
    return [Input("abc"[index], landscape(index, SIZE)[1], photos[index]) for index in range(3)]


@pytest.fixture(scope="module")
def together(model, inputs):
    return paint(with_inference(model, batch_size=3), inputs, seed=1, show_starts="abc")


def paint(model, inputs, seed=0, **options):
    return list(Pipeline(model).stream(inputs, seed=seed, **options))


def with_inference(model, **changes):
    config = model.config
    return model._replace(
        config=dataclasses.replace(config, inference=dataclasses.replace(config.inference, **changes))
    )


def by_hand(images):
    return jt.array(np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def pixels(x):
    return np.clip(np.round((x.numpy().transpose(0, 2, 3, 1) + 1) * 127.5), 0, 255)


def drawn_noise(*key):
    digest = hashlib.sha256(repr(key).encode()).digest()
    bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    return np.random.Generator(bits).standard_normal((1, 3, 12, 16), dtype=np.float32)


class Space:
    """A latent space that notes what it is given."""

    def __init__(self, space):
        self.space, self.encoded, self.decoded = space, [], []

    def encode(self, x):
        self.encoded.append(pixels(x))
        return self.space.encode(x)

    def decode(self, z):
        self.decoded.append(z.shape[0])
        return self.space.decode(z)


@pytest.fixture
def sampled(monkeypatch):
    """The names of the inputs of each batch that was sampled."""
    noise, seen = pipeline.noise_of, []

    def record(seed, names, *more):
        if more[1:] == (0, "start"):
            seen.append("".join(names))
        return noise(seed, names, *more)

    monkeypatch.setattr(pipeline, "noise_of", record)
    return seen


class TestResults:
    def test_each_input_gives_one_image_of_the_models_size_in_order(self, together, inputs):
        assert [result.name for result in together] == ["a", "b", "c"]
        for kind in ("image", "start"):
            images = [getattr(result, kind) for result in together]
            assert {(image.shape, image.dtype.name) for image in images} == {((48, 64, 3), "uint8")}
            assert len({image.tobytes() for image in images}) == 3
        assert np.stack([result.image for result in together]).std() > 5

    def test_a_result_brings_its_mask_and_reference_at_the_models_size(self, model, inputs):
        large = landscape(4, Size(96, 128))
        given = [Input("a", large[1], large[0])]
        [result] = paint(model, given, rounds=[Round(9, 1)])
        np.testing.assert_array_equal(result.mask, large[1][::2, ::2])
        expected = large[0].reshape(48, 2, 64, 2, 3).mean((1, 3))
        assert result.reference.shape == (48, 64, 3) and largest_difference(result.reference, expected) <= 1

    def test_files_give_what_their_arrays_give(self, model, inputs, tmp_path):
        save_png(tmp_path / "mask.png", inputs[0].mask)
        save_jpeg(tmp_path / "photo.jpg", inputs[0].reference)
        files = [Input("a", tmp_path / "mask.png", tmp_path / "photo.jpg")]
        arrays = [Input("a", inputs[0].mask, load_image(tmp_path / "photo.jpg"))]
        np.testing.assert_array_equal(paint(model, files)[0].image, paint(model, arrays)[0].image)

    @pytest.mark.parametrize("index", range(3))
    def test_an_image_does_not_depend_on_its_batch(self, together, model, inputs, index):
        [alone] = paint(model, inputs[index : index + 1], seed=1, show_starts="abc")
        np.testing.assert_array_equal(alone.image, together[index].image)
        np.testing.assert_array_equal(alone.start, together[index].start)

    def test_nor_on_its_place_or_on_what_was_painted_before(self, together, model, inputs):
        painter = Pipeline(model)
        for _ in range(2):
            turned = list(painter.stream(inputs[::-1], seed=1))
            for result, other in zip(turned[::-1], together, strict=True):
                np.testing.assert_array_equal(result.image, other.image)

    def test_mask_reference_name_and_seed_all_matter(self, together, model, inputs):
        first, other = inputs[:2]
        for changed, seed in (
            (first._replace(mask=other.mask), 1),
            (first._replace(reference=other.reference), 1),
            (first._replace(name="z"), 1),
            (first, 2),
        ):
            assert largest_difference(paint(model, [changed], seed)[0].image, together[0].image) > 5

    @pytest.mark.parametrize("interval", [None, (40, 80)])
    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_no_sampler_depends_on_the_batch(self, model, inputs, sampler, interval):
        rounds = [Round(100, 3, sampler, 1.5, guidance_interval=interval)]  # at 100, 66 and 33
        together = paint(with_inference(model, batch_size=3), inputs, rounds=rounds)
        [alone] = paint(model, inputs[2:], rounds=rounds)
        np.testing.assert_array_equal(alone.image, together[2].image)


class TestBatches:
    def test_batches_hold_what_the_memory_for_modulations_holds(self, model):
        gib = 4 * model.unet.modulation_elements(model.config.latent_size) / 2**30
        for memory, size in ((0.5 * gib, 1), (3.5 * gib, 3), (99 * gib, 5)):
            assert Pipeline(with_inference(model, batch_size=5, modulation_memory=memory)).batch_size == size

    @pytest.mark.parametrize(
        ("wanted", "batches", "results"),
        [(None, ["ab", "c"], "abc"), ("b", ["ab"], "b"), ("c", ["c"], "c"), ("", [], "")],
    )
    def test_batches_are_cut_from_all_and_left_out_without_a_wanted_one(
        self, model, inputs, sampled, wanted, batches, results
    ):
        wanted = None if wanted is None else set(wanted)
        found = paint(model, inputs, rounds=[Round(9, 1)], wanted=wanted)
        assert sampled == batches and "".join(result.name for result in found) == results

    def test_every_pass_of_every_round_is_reported_as_announced(self, model, inputs):
        """Two batches of five guided steps, of which each is two passes."""
        part = [Round(600, 3, guidance_scale=2.0, guidance_interval=(300, 500))]  # at 600, 400 and 199
        for options, expected in (
            ({}, [2] * 10),
            ({"wanted": {"c"}}, [2] * 5),
            ({"rounds": [Round(9, 4)]}, [1] * 8),
            ({"rounds": part}, [1, 2, 1] * 2),
        ):
            passes = []
            paint(model, inputs, on_step=passes.append, **options)
            assert passes == expected and Pipeline(model).num_passes(inputs, **options) == sum(expected)

    def test_results_come_before_the_next_batch_is_begun(self, model, inputs, sampled):
        results = Pipeline(model).stream(inputs, seed=0, rounds=[Round(9, 1)])
        assert sampled == []
        next(results)
        assert sampled == ["ab"]

    def test_gradients_are_kept_as_they_were_while_results_are_used(self, model, inputs):
        before = jt.flags.no_grad
        for _ in Pipeline(model).stream(inputs, seed=0, rounds=[Round(9, 1)]):
            assert jt.flags.no_grad == before


class TestStarts:
    def test_the_start_is_the_encoded_reference_noised_to_the_first_timestep(self, model, inputs):
        """D(sqrt(abar) E(x) + sqrt(1 - abar) eps), the noise and abar computed here."""
        [result] = paint(model, inputs[:1], seed=7, rounds=[Round(200, 1)], show_starts="a")
        assert largest_difference(result.start, noised_by_hand(model, inputs[0], 7, 200)) <= 1

    @pytest.mark.parametrize("rounds", [(Round(999, 2),), (Round(999, 2), Round(100, 1))], ids=["one", "two"])
    def test_from_noise_the_first_round_starts_without_the_reference(self, model, inputs, rounds):
        """Its start is the noise itself, decoded, and another reference changes no pixel."""
        options = {"seed": 7, "rounds": rounds, "from_noise": True, "show_starts": "a"}
        [result] = paint(model, inputs[:1], **options)
        with jt.no_grad():
            eps = jt.array(drawn_noise(7, "a", 0, "start"))
            expected = pixels(model.space.autoencoder.decode(eps / model.config.autoencoder.latent_scale))
        assert largest_difference(result.start, expected) <= 1
        [other] = paint(model, [inputs[0]._replace(reference=inputs[1].reference)], **options)
        np.testing.assert_array_equal(other.image, result.image)
        [other] = paint(model, [inputs[0]._replace(mask=inputs[1].mask)], **options)
        assert largest_difference(other.image, result.image) > 5

    @pytest.mark.parametrize(
        ("shown", "wanted", "decoded"),
        [("", None, 4), ("a", None, 5), ("abc", None, 6), ("c", None, 5), ("c", {"a"}, 2), ("a", {"b"}, 2)],
    )
    def test_starts_are_decoded_only_where_they_are_shown(self, model, inputs, shown, wanted, decoded):
        """Two batches of two rounds are decoded four times without starts."""
        space = Space(model.space)
        found = paint(model._replace(space=space), inputs, show_starts=shown, wanted=wanted)
        assert len(space.decoded) == decoded
        assert {result.name for result in found if result.start is not None} == set(shown) & {r.name for r in found}

    def test_showing_a_start_changes_no_image(self, together, model, inputs):
        for result, other in zip(paint(model, inputs, seed=1), together, strict=True):
            np.testing.assert_array_equal(result.image, other.image)


def noised_by_hand(model, given, seed, timestep):
    abar = math.prod(1 - (1e-4 + t * (2e-2 - 1e-4) / 999) for t in range(timestep + 1))
    autoencoder, scale = model.space.autoencoder, model.config.autoencoder.latent_scale
    with jt.no_grad():
        z0 = autoencoder.encode(by_hand([given.reference])) * scale
        z = math.sqrt(abar) * z0 + math.sqrt(1 - abar) * jt.array(drawn_noise(seed, given.name, 0, "start"))
        return pixels(autoencoder.decode(z / scale))


class TestRounds:
    def test_rounds_of_the_call_take_the_place_of_the_configs(self, model, inputs):
        rounds = (Round(300, 2), Round(90, 1, color_transfer=True))
        [called], [configured] = (
            paint(model, inputs[:1], rounds=rounds),
            paint(with_inference(model, rounds=rounds), inputs[:1]),
        )
        np.testing.assert_array_equal(called.image, configured.image)
        assert largest_difference(called.image, paint(model, inputs[:1])[0].image) > 5

    def test_the_sampler_gets_the_rounds_timesteps_and_settings(self, model, inputs, monkeypatch):
        seen = {}
        for name, sample in pipeline.SAMPLERS.items():

            def spy(denoiser, z, timesteps, name=name, sample=sample, **options):
                seen[name] = (list(timesteps), denoiser.settings)
                return sample(denoiser, z, timesteps, **options)

            monkeypatch.setitem(pipeline.SAMPLERS, name, spy)
        rounds = (
            Round(600, 3, clip_x0=2.0, dynamic_thresholding_ratio=0.9),
            Round(50, 2, "ddpm", 2.0, guidance_rescale=0.7, guidance_interval=(3, 40)),
            Round(8, 3, "dpmpp_2m"),
        )
        paint(model, inputs[:1], rounds=rounds)
        assert {name: settings for name, (_, settings) in seen.items()} == {
            "ddim": Settings(1.0, 0.0, 2.0, 0.9),
            "ddpm": Settings(2.0, 0.7, None, None, (3, 40)),
            "dpmpp_2m": Settings(),
        }
        for spec in rounds:
            timesteps = seen[spec.sampler][0]
            assert timesteps[0] == spec.start_timestep and len(timesteps) == spec.num_steps
            assert all(later < earlier for earlier, later in zip(timesteps, timesteps[1:])) and timesteps[-1] >= 0

    def test_a_round_begins_with_the_last_ones_result_in_the_references_colours(self, model, inputs, monkeypatch):
        first, second = Round(100, 2), Round(100, 2, color_transfer=True)
        after_one = paint(model, inputs[:2], rounds=[first])
        calls = []

        def transfer(source, reference, space):
            calls.append((source, reference, space))
            return reference

        monkeypatch.setattr(pipeline, "color_transfer", transfer)
        paint(with_inference(model, color_space="lalphabeta"), inputs[:2], rounds=[first, second])
        assert len(calls) == 2
        for (source, reference, space), result, given in zip(calls, after_one, inputs):
            assert largest_difference(source, result.image) <= 1 and space == "lalphabeta"
            np.testing.assert_array_equal(reference, given.reference)

    def test_by_region_the_masks_of_both_go_with_the_images(self, model, inputs, landscapes, monkeypatch):
        own = landscapes / "labels" / "synth_000002.png"
        predicted, given = np.full(SIZE, 1, np.uint8), np.full((12, 8), 7, np.uint8)
        by_path = inputs[2]._replace(reference=landscapes / "imgs" / "synth_000002.jpg")
        batch = [inputs[0], inputs[1]._replace(reference_mask=given), by_path]
        calls, asked = [], []

        class Sees:
            def predict(self, images):
                asked.append(images)
                return predicted[None]

        def transfer(source, reference, *rest):
            calls.append(rest)
            return reference

        monkeypatch.setattr(pipeline, "region_transfer", transfer)
        rounds = [Round(9, 1), Round(9, 1, color_transfer="region"), Round(9, 1, color_transfer="region")]
        batched = with_inference(model, batch_size=3)
        results = list(Pipeline(batched, Sees).stream(batch, seed=0, rounds=rounds))
        assert len(calls) == 6 and len(asked) == 1
        np.testing.assert_array_equal(asked[0], inputs[0].reference[None])
        expected = [predicted, np.full(SIZE, 7, np.uint8), load_mask(own)]
        for (source_mask, reference_mask, space), result, mask in zip(calls, results * 2, expected * 2):
            np.testing.assert_array_equal(source_mask, result.mask)
            np.testing.assert_array_equal(reference_mask, mask)
            assert space == "lab8"

    def test_by_region_a_reference_without_mask_needs_a_segmenter(self, model, inputs):
        with pytest.raises(InputError, match="no mask in labels/"):
            paint(model, inputs[:1], rounds=[Round(9, 1, color_transfer="region")])
        assert paint(model, inputs[:1], rounds=[Round(9, 1, color_transfer=True)])  # which needs none

    def test_by_region_an_image_does_not_depend_on_its_batch(self, model, inputs):
        batch = [given._replace(reference_mask=np.roll(given.mask, 3, axis=0)) for given in inputs]
        rounds = [Round(99, 1, color_transfer="region")]
        alone = [paint(model, [given], rounds=rounds)[0] for given in batch]
        together = paint(with_inference(model, batch_size=3), batch, rounds=rounds)
        for one, other in zip(alone, together):
            np.testing.assert_array_equal(one.image, other.image)
        plain = paint(model, batch[:1], rounds=[Round(99, 1, color_transfer=True)])[0]
        assert not np.array_equal(alone[0].image, plain.image)

    def test_rounds_draw_other_noise(self, model, inputs, monkeypatch):
        keys = []

        def record(shape, *key):
            keys.append(key)
            return np.zeros(shape, np.float32)

        monkeypatch.setattr(pipeline, "normal", record)
        paint(model, inputs[:1], seed=9, rounds=[Round(100, 2, "ddpm"), Round(100, 2, "ddpm")])
        assert len(keys) == len(set(keys)) and {key[:2] for key in keys} == {(9, "a")}
        assert {key[2] for key in keys} == {0, 1}


class Habits(Hooks):
    """Notes what every hook is given, and answers otherwise."""

    def __init__(self):
        self.seen = []

    def between_rounds(self, x):
        self.seen.append(("between_rounds", pixels(x)))
        return x * 0

    def recolored(self, images):
        self.seen.append(("recolored", np.stack(images)))
        return [np.full_like(image, 9) for image in images]

    def noised_at(self, number, timestep):
        self.seen.append(("noised_at", (number, timestep)))
        return 150


class TestHooks:
    def test_each_is_asked_in_its_place_and_heard(self, model, inputs):
        hooks, space = Habits(), Space(model.space)
        rounds = (Round(99, 1), Round(79, 2, color_transfer=True))
        [after_one] = paint(model, inputs[:1], rounds=rounds[:1], hooks=Habits())
        paint(model._replace(space=space), inputs[:1], rounds=rounds, hooks=hooks)
        names, values = zip(*hooks.seen)
        assert names == ("noised_at", "between_rounds", "recolored", "noised_at")
        assert values[0] == (0, 99) and values[3] == (1, 79)
        assert largest_difference(values[1][0], after_one.image) <= 1
        np.testing.assert_array_equal(space.encoded[0][0], inputs[0].reference)
        assert (space.encoded[1] == 9).all()

    def test_the_start_has_the_noise_level_that_the_hook_says(self, model, inputs):
        options = {"seed": 7, "rounds": [Round(99, 1)], "hooks": Habits(), "show_starts": "a"}
        [result] = paint(model, inputs[:1], **options)
        assert largest_difference(result.start, noised_by_hand(model, inputs[0], 7, 150)) <= 1
