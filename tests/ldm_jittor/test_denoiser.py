"""Guidance, bounds and learned variance, with a network simple enough to know its output."""

import math

import jittor as jt
import numpy as np
import pytest

from ldm_jittor.denoiser import Denoiser, rescale_guided, threshold
from ldm_jittor.schedules import NoiseSchedule


class LinearNet:
    """eps = z * (mean of the mask) + timestep / 1000, variance output 0.5 * (mean of the mask); notes its calls."""

    prediction = "eps"

    def __init__(self):
        self.samples, self.modulation_calls = [], 0

    def modulations(self, segmap, size, guided=False):
        self.modulation_calls += 1
        mean = segmap.mean(dims=[1, 2, 3], keepdims=True)
        return jt.concat([mean, jt.zeros_like(mean)]) if guided else mean

    def __call__(self, z, timesteps, *, modulations):
        self.samples.append(len(z))
        mean = modulations[: len(z)]
        eps = z * mean + timesteps.reshape((-1, 1, 1, 1)) / 1000
        return jt.concat([eps, jt.ones_like(z) * mean * 0.5], dim=1)


def setup(**options):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, 3, 4, 4)).astype(np.float32)
    masks = np.stack([np.full((29, 4, 4), 0.2), np.full((29, 4, 4), 0.6)]).astype(np.float32)
    net = LinearNet()
    return net, z, Denoiser(net, NoiseSchedule.linear(), jt.array(masks), (4, 4), **options)


MEANS = np.array([0.2, 0.6], dtype=np.float32).reshape(2, 1, 1, 1)


def test_without_guidance_the_null_branch_is_not_run():
    net, z, denoiser = setup()
    prediction = denoiser(jt.array(z), 300)
    np.testing.assert_allclose(prediction.eps.numpy(), z * MEANS + 0.3, rtol=1e-5, atol=1e-6)
    assert net.modulation_calls == 1


def test_guidance_extrapolates_from_the_null_mask():
    net, z, denoiser = setup(guidance_scale=3.5)
    for _ in range(3):
        prediction = denoiser(jt.array(z), 300)
    null, masked = np.full_like(z, 0.3), z * MEANS + 0.3
    np.testing.assert_allclose(prediction.eps.numpy(), null + 3.5 * (masked - null), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        prediction.variance_fraction.numpy()[:, 0, 0, 0], (0.5 * MEANS.ravel() + 1) / 2, rtol=1e-5
    )
    assert net.samples == [4] * 3 and net.modulation_calls == 1  # one batched pass a step; the masks once, ever


def test_another_guidance_scale_shares_the_masks():
    net, z, denoiser = setup()
    guided = denoiser.with_settings(guidance_scale=3.5)(jt.array(z), 300)
    null, masked = np.full_like(z, 0.3), z * MEANS + 0.3
    np.testing.assert_allclose(guided.eps.numpy(), null + 3.5 * (masked - null), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(denoiser(jt.array(z), 300).eps.numpy(), masked, rtol=1e-5, atol=1e-5)
    assert net.modulation_calls == 1


@pytest.mark.parametrize(("timestep", "guided"), [(199, False), (200, True), (400, True), (401, False)])
def test_outside_its_interval_guidance_costs_no_second_branch(timestep, guided):
    net, z, denoiser = setup(guidance_scale=3.5, guidance_interval=(200, 400))
    prediction = denoiser(jt.array(z), timestep)
    null, masked = np.full_like(z, timestep / 1000), z * MEANS + timestep / 1000
    expected = null + 3.5 * (masked - null) if guided else masked
    np.testing.assert_allclose(prediction.eps.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert net.samples == [4 if guided else 2] and net.modulation_calls == 1
    assert denoiser.settings.branches(timestep) == (2 if guided else 1)
    assert denoiser.settings._replace(guidance_scale=1.0).branches(timestep) == 1


def test_x0_inverts_the_noising():
    _, z, denoiser = setup()
    prediction = denoiser(jt.array(z), 300)
    abar = denoiser.schedule.alpha_bar(300)
    restored = math.sqrt(abar) * prediction.x0.numpy() + math.sqrt(1 - abar) * prediction.eps.numpy()
    np.testing.assert_allclose(restored, z, rtol=1e-4, atol=1e-5)


def test_clipping_keeps_eps_consistent():
    _, z, denoiser = setup(clip_x0=0.5)
    prediction = denoiser(jt.array(z), 900)
    assert np.abs(prediction.x0.numpy()).max() == pytest.approx(0.5)
    abar = denoiser.schedule.alpha_bar(900)
    restored = math.sqrt(abar) * prediction.x0.numpy() + math.sqrt(1 - abar) * prediction.eps.numpy()
    np.testing.assert_allclose(restored, z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.995, 1.0])
def test_dynamic_thresholding_shrinks_a_sample_that_leaves_its_range(ratio):
    """The first sample is within the bound. Of the second the share beyond the quantile is cut, and the rest shrunk."""
    rng = np.random.default_rng(1)
    x0 = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    x0[0] *= 1.5 / np.abs(x0[0]).max()
    x0[1] *= 20
    size = np.quantile(np.abs(x0[1].astype(np.float64)), ratio)
    bounded = threshold(jt.array(x0), 1.5, ratio).numpy()
    np.testing.assert_allclose(bounded[0], x0[0], rtol=1e-6)
    np.testing.assert_allclose(bounded[1], np.clip(x0[1], -size, size) * 1.5 / size, rtol=1e-5, atol=1e-6)


def test_rescaled_guidance_has_the_spread_of_the_masked_branch():
    rng = np.random.default_rng(2)
    masked = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    guided = np.stack([3 * masked[0] + 1, 5 * masked[1]])
    for share in (0.0, 0.7, 1.0):
        found = rescale_guided(jt.array(guided), jt.array(masked), share).numpy()
        for sample, factor in ((0, 3), (1, 5)):
            scale = 1 - share + share / factor
            np.testing.assert_allclose(found[sample], scale * guided[sample], rtol=1e-5, atol=1e-6)


def test_a_denoiser_rescales_what_it_has_guided():
    _, z, denoiser = setup(guidance_scale=3.5, guidance_rescale=0.7)
    plain = denoiser.with_settings(guidance_rescale=0.0)(jt.array(z), 300)
    masked = denoiser.with_settings(guidance_scale=1.0)(jt.array(z), 300)
    rescaled = denoiser(jt.array(z), 300)
    expected = rescale_guided(plain.eps, masked.eps, 0.7)
    np.testing.assert_allclose(rescaled.eps.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(rescaled.eps.numpy() - plain.eps.numpy()).max() > 0.1


@pytest.mark.parametrize("timestep", [319, 900, 999])
def test_denoiser_is_finite_where_abar_vanishes(timestep):
    _, z, denoiser = setup()
    denoiser.schedule = NoiseSchedule.paper()
    prediction = denoiser(jt.array(z), timestep)
    assert np.isfinite(prediction.x0.numpy()).all() and np.isfinite(prediction.eps.numpy()).all()


class VelocityNet(LinearNet):
    """The velocity of what `LinearNet` says is the noise."""

    prediction = "v"

    def __call__(self, z, timesteps, *, modulations):
        output, channels = super().__call__(z, timesteps, modulations=modulations), z.shape[1]
        abar = NoiseSchedule.linear().alpha_bar(int(timesteps.item()))
        v = (output[:, :channels] - math.sqrt(1 - abar) * z) / math.sqrt(abar)
        return jt.concat([v, output[:, channels:]], dim=1)


@pytest.mark.parametrize("options", [{}, {"guidance_scale": 3.5}, {"guidance_scale": 3.5, "clip_x0": 1.0}])
def test_a_network_of_velocities_predicts_what_one_of_noise_does(options):
    _, z, denoiser = setup(**options)
    expected = denoiser(jt.array(z), 300)
    denoiser.unet = VelocityNet()
    for got, wanted in zip(denoiser(jt.array(z), 300), expected, strict=True):
        np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_a_velocity_tells_the_clean_latent_where_abar_is_zero():
    _, z, denoiser = setup()
    denoiser.unet, denoiser.schedule = LinearNet(), NoiseSchedule.paper()
    denoiser.unet.prediction = "v"
    prediction = denoiser(jt.array(z), 999)
    np.testing.assert_allclose(prediction.x0.numpy(), -(z * MEANS + 0.999), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(prediction.eps.numpy(), z)
