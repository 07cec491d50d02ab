"""A step of every GAN, and what a step leaves behind."""

from __future__ import annotations

import itertools

import jittor as jt
import numpy as np
import pytest
from tiny_gans import OPTIONS, tiny

from jiidm.baselines import perceptual
from jiidm.baselines.stage import SETTLING_STEPS, GANStage
from jiidm.classes import one_hot
from jiidm.data.distance import distance_map
from jiidm.data.images import load_image, load_mask
from jiidm.data.pairs import find_pairs
from jiidm.size import Size
from jiidm.train import loop
from jiidm.train.loop import fit
from jiidm.train.stage import sample_index
from ldm_jittor import checkpoint
from ldm_jittor.pixels import to_model

pytestmark = pytest.mark.slow

CANCELLED = (".conv_0.bias", ".noise_var", ".Spade.", ".blending_", ".dist_conv_b.")
"""Names of parameters whose gradient may be none: a batch norm cancels the first, the rest begins as a factor of 0."""


def stage_of(config, root, folder, shown=None):
    show = (lambda model, picture, stop: None) if shown is None else shown
    return GANStage(config, find_pairs(root), folder, {}, show)


def one_step(stage):
    return loop._update(stage, stage.load_batch(0), 0)


@pytest.mark.parametrize("method", OPTIONS)
def test_step_updates_both_networks_everywhere(method, landscapes, tmp_path):
    stage = stage_of(tiny(method), landscapes, tmp_path)
    before = checkpoint.state_dict(stage.network), checkpoint.state_dict(stage.discriminator)
    losses = one_step(stage)
    assert list(losses)[0] == "loss" and list(losses)[-1] == "discriminator"
    assert ("kl" in losses, "auxiliary" in losses) == (method != "sean", method == "scgan")
    parts = [value for name, value in losses.items() if name not in ("loss", "discriminator")]
    assert losses["loss"] == pytest.approx(sum(parts), rel=1e-4)
    for network, old in zip((stage.network, stage.discriminator), before):
        same = [name for name, value in checkpoint.state_dict(network).items() if np.array_equal(value, old[name])]
        learned = {name for name, value in network.named_parameters() if not value.is_stop_grad()}
        assert [name for name in same if not (name in learned and _may_stay(name))] == []


def test_oasis_and_a_perceptual_loss_train_both_networks(landscapes, tmp_path):
    given = ["adversarial=oasis", "perceptual=autoencoder"]
    config = tiny("clade", "data.size=[64,64]", *(f"gan_training.{setting}" for setting in given))
    loss, _ = perceptual.load(config.gan_training)
    stage = GANStage(config, find_pairs(landscapes), tmp_path, {}, lambda *_: None, loss)
    before = checkpoint.state_dict(stage.network), checkpoint.state_dict(stage.discriminator)
    losses = one_step(stage)
    generators, discriminators = {"adversarial", "perceptual", "kl"}, {"segmentation", "labelmix"}
    assert losses.keys() == generators | discriminators | {"loss", "discriminator"}
    for total, parts in (("loss", generators), ("discriminator", discriminators)):
        assert losses[total] == pytest.approx(sum(losses[name] for name in parts), rel=1e-4)
    for network, old in zip((stage.network, stage.discriminator), before):
        assert any(not np.array_equal(value, old[name]) for name, value in checkpoint.state_dict(network).items())


def _may_stay(name):
    # ".fc_mu": of absent classes. Photos give the bias of the logits minus what fakes give it, while all margins count
    return any(part in name for part in (*CANCELLED, ".fc_mu", ".model3.0.bias", ".model4.0.bias"))


def test_turns_come_in_the_published_order(landscapes, tmp_path, monkeypatch):
    """G's turn with gradients, its update, then new fakes of the new G for D's turn; each judged once in one batch."""
    stage, calls = stage_of(tiny("gaugan"), landscapes, tmp_path), []

    def spy(name, network):
        original = network.execute

        def execute(*arguments, **options):
            out = original(*arguments, **options)
            calls.append((name, arguments[-1].shape[0] if name == "D" else None))
            return out

        monkeypatch.setattr(network, "execute", execute)

    spy("E", stage.network.encoder)
    spy("G", stage.network.generator)
    spy("D", stage.discriminator)
    turns = stage.losses(stage.load_batch(0), 0)
    assert next(turns)[0] is stage.optimizer
    monkeypatch.setattr(stage, "_draw", lambda numbers, shape, *key: calls.append(key) or np.zeros((2, *shape), "f"))
    assert next(turns)[0] is stage.discriminator_optimizer
    assert next(turns, None) is None
    assert [name for name, _ in calls] == ["E", "G", "D", "E", "style", "G", "D"]
    assert [size for name, size in calls if name == "D"] == [4, 4]


def test_norms_advance_twice_a_step(landscapes, tmp_path):
    """With momentum 0.1 and rates of nearly 0 a running mean goes 0.1 + 0.9 * 0.1 of the way, were batches equal."""
    config = tiny("clade", "gan.use_vae=false", "gan_training.generator_rate=1e-30")
    stage = stage_of(config, landscapes, tmp_path)
    one_step(stage)
    norm = stage.network.generator.head_0.norm_0.param_free_norm
    with jt.no_grad():
        first = stage.network.generator._first_features(jt.array(stage.load_batch(0).segmaps), None)
    mean = first.numpy().mean(axis=(0, 2, 3))
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.19 * mean, rtol=1e-3, atol=1e-7)


def test_rates_are_two_and_fall_to_zero_in_a_line(landscapes, tmp_path):
    stage = stage_of(tiny("gaugan", "gan_training.max_steps=10", "gan_training.decay_steps=4"), landscapes, tmp_path)
    for optimizer, rate in zip(stage.optimizers.values(), (1e-4, 4e-4)):
        expected = [rate] * 7 + [0.75 * rate, 0.5 * rate, 0.25 * rate]
        assert [optimizer.learning_rate(step) for step in range(10)] == pytest.approx(expected)


def test_draws_belong_to_samples_and_not_to_batches(landscapes, tmp_path):
    stage = stage_of(tiny("clade"), landscapes, tmp_path)
    pair, single = stage._load(range(2, 4)), stage._load(range(3, 4))
    for together, alone in zip(pair[1:], single[1:]):
        np.testing.assert_array_equal(together[1], alone[0])
    draws = [stage._draw(numbers, (5,), "style", 0) for numbers in (range(2, 4), range(3, 4))]
    np.testing.assert_array_equal(draws[0][1], draws[1][0])


def test_photo_mask_and_distance_are_mirrored_together(landscapes, tmp_path):
    stage = stage_of(tiny("clade"), landscapes, tmp_path)
    batch, mirrored = stage._load(range(12)), 0
    for number, image, segmap, distance in zip(*batch):
        pair = stage.train[sample_index(number, len(stage.train), 0)]
        photo, mask = load_image(pair.image, Size(32, 64)), load_mask(pair.label, Size(32, 64))
        turned = not np.array_equal(image, photo)
        step = -1 if turned else 1
        mirrored += turned
        np.testing.assert_array_equal(image, photo[:, ::step])
        np.testing.assert_array_equal(segmap, one_hot(mask)[:, :, ::step])
        np.testing.assert_allclose(distance[1], step * distance_map(mask)[1][:, ::step], atol=1e-5)
    assert 0 < mirrored < 12


def test_averaged_weights_are_the_model_with_statistics_of_their_own(landscapes, tmp_path):
    config = tiny("clade", "gan.use_vae=false", "gan_training.ema_decay=0.5", "gan_training.max_steps=2")
    stage = stage_of(config, landscapes, tmp_path)
    fit(stage, tmp_path)
    trained = checkpoint.state_dict(stage.network)
    with stage.final() as model:
        final = checkpoint.state_dict(model.network)
    averages = stage.ema.state_dict()
    name = "generator.conv_img.weight"
    np.testing.assert_array_equal(final[name], averages[name])
    assert not np.array_equal(final[name], trained[name])
    # 0.9 ** 50 of the average of running statistics is left
    settled = "generator.up_3.norm_0.param_free_norm.running_var"
    assert SETTLING_STEPS == 50 and not np.allclose(final[settled], averages[settled], rtol=1e-3)
    for key, value in checkpoint.state_dict(stage.network).items():
        np.testing.assert_array_equal(value, trained[key])
    assert all(module.is_training() for _, module in stage.network.named_modules())


def test_mean_codes_are_means_over_the_photos_that_show_a_class(landscapes, tmp_path):
    stage = stage_of(tiny("sean"), landscapes, tmp_path)
    with stage.final() as model:
        pass
    codes = []
    for pair in find_pairs(landscapes):
        segmap = jt.array(one_hot(load_mask(pair.label, Size(32, 64)))[None])
        photo = to_model([load_image(pair.image, Size(32, 64))])
        codes.append(stage.network.generator.style_codes(photo, segmap).numpy()[0])
    shown = [[code[label] for code in codes if code[label].any()] for label in range(29)]
    for label, values in enumerate(shown):
        expected = np.mean(values, axis=0) if values else np.zeros(4)
        np.testing.assert_allclose(model.mean_codes[label], expected, atol=1e-6)
    assert sum(bool(values) for values in shown) not in (0, 29)
    assert list(itertools.chain(*shown))
