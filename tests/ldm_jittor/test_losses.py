"""Losses against closed forms and scipy."""

import jittor as jt
import numpy as np
import pytest
from scipy import stats

from ldm_jittor.losses import PatchDiscriminator, autoencoder_loss, diffusion_loss, hinge_loss, min_snr_weights
from ldm_jittor.schedules import NoiseSchedule

SHAPE = (3, 2, 4, 4)


def arrays(seed=0):
    z0, eps, noise_output, variance_output = np.random.default_rng(seed).standard_normal((4, *SHAPE)).astype(np.float32)
    return z0, eps, noise_output, 0.3 * variance_output


def noised(schedule, z0, eps, timesteps):
    abar = schedule.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
    return (np.sqrt(abar) * z0 + np.sqrt(1 - abar) * eps).astype(np.float32)


def test_simple_loss_without_learned_variance():
    schedule, timesteps = NoiseSchedule.linear(), np.array([5, 300, 999])
    z0, eps, output, _ = arrays()
    z = noised(schedule, z0, eps, timesteps)
    loss = diffusion_loss(*map(jt.array, (output, z0, z, eps)), timesteps, schedule)
    assert loss.total.item() == pytest.approx(np.mean((output - eps) ** 2), rel=1e-5)
    assert loss.variational.item() == 0


@pytest.mark.parametrize("schedule", [NoiseSchedule.linear(), NoiseSchedule.cosine()])
def test_variational_bound_is_the_divergence_of_two_gaussians(schedule):
    """Monte-Carlo-free: KL by numerical integration of scipy's densities, at a few elements."""
    timesteps = np.array([1, 300, 800])
    z0, eps, eps_hat, v = arrays()
    z = noised(schedule, z0, eps, timesteps)
    output = np.concatenate([eps_hat, v], axis=1)
    got = diffusion_loss(*map(jt.array, (output, z0, z, eps)), timesteps, schedule).variational.item()
    beta = schedule.betas[timesteps].reshape(-1, 1, 1, 1)
    abar = schedule.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
    before = schedule.alphas_cumprod[timesteps - 1].reshape(-1, 1, 1, 1)
    posterior = beta * (1 - before) / (1 - abar)

    def mean_given(x0):
        return np.sqrt(before) * beta / (1 - abar) * x0 + np.sqrt(1 - beta) * (1 - before) / (1 - abar) * z

    predicted_x0 = (z - np.sqrt(1 - abar) * eps_hat) / np.sqrt(abar)
    q_mean, p_mean = mean_given(z0), mean_given(predicted_x0)
    fraction = (v + 1) / 2
    p_std = np.sqrt(np.exp(fraction * np.log(beta) + (1 - fraction) * np.log(posterior)))
    q_std = np.sqrt(np.broadcast_to(posterior, SHAPE))
    unit = np.linspace(-9, 9, 4001)
    points = q_mean[..., None] + q_std[..., None] * unit
    log_ratio = stats.norm.logpdf(points, q_mean[..., None], q_std[..., None]) - stats.norm.logpdf(
        points, p_mean[..., None], p_std[..., None]
    )
    kl = (
        np.trapezoid(stats.norm.pdf(unit) * log_ratio, unit)
        if hasattr(np, "trapezoid")
        else np.trapz(stats.norm.pdf(unit) * log_ratio, unit)
    )
    assert got == pytest.approx(kl.mean() / np.log(2), rel=2e-3)


def test_variance_gradient_does_not_reach_eps():
    schedule, timesteps = NoiseSchedule.linear(), np.array([5, 300, 999])
    z0, eps, eps_hat, v = arrays()
    z = jt.array(noised(schedule, z0, eps, timesteps))
    output = jt.array(np.concatenate([eps_hat, v], axis=1))
    loss = diffusion_loss(output, jt.array(z0), z, jt.array(eps), timesteps, schedule)
    gradient = jt.grad(loss.variational, output).numpy()
    assert (gradient[:, :2] == 0).all() and np.abs(gradient[:, 2:]).min() > 0


@pytest.mark.parametrize("schedule", [NoiseSchedule.paper(), NoiseSchedule.linear()])
def test_diffusion_loss_is_finite_at_every_timestep(schedule):
    timesteps = np.arange(0, 1000, 9)
    rng = np.random.default_rng(0)
    z0, eps, v = rng.standard_normal((3, len(timesteps), 2, 2, 2)).astype(np.float32)
    z = noised(schedule, z0, eps, timesteps)
    output = jt.array(np.concatenate([eps, v], axis=1))
    loss = diffusion_loss(output, jt.array(z0), jt.array(z), jt.array(eps), timesteps, schedule)
    assert np.isfinite([value.item() for value in loss]).all()


def test_hinge_loss_is_its_closed_form():
    real, fake = np.array([2.0, 0.5, -1.0], np.float32), np.array([-2.0, 0.5, 1.0], np.float32)
    expected = 0.5 * (np.mean([0, 0.5, 2]) + np.mean([0, 1.5, 2]))
    assert hinge_loss(jt.array(real), jt.array(fake)).item() == pytest.approx(expected)


def test_discriminator_gives_a_score_for_each_patch():
    logits = PatchDiscriminator(channels=16)(jt.zeros((2, 3, 64, 64)))
    assert tuple(logits.shape) == (2, 1, 6, 6)  # PatchGAN's 70-pixel patches on 64 pixels


def test_adversarial_weight_balances_gradients():
    """y = w * x: |x - y|_1 and the logits' mean have known gradients in w."""
    x = jt.array(np.full((1, 3, 2, 2), 2.0, np.float32))
    w = jt.array(np.array([0.5], np.float32))
    y = x * w
    loss = autoencoder_loss(x, y, jt.array([0.25]), 2.0, w, fake_logits=4 * y, discriminator_weight=0.8)
    # d L1 / d w = -2 (mean of x), d(-mean(4 y)) / d w = -8
    assert loss.adversarial_weight.item() == pytest.approx(0.8 * 2 / 8, rel=1e-3)
    assert loss.total.item() == pytest.approx(1.0 + 2.0 * 0.25 + 0.2 * -4.0, rel=1e-3)


def test_no_adversary_before_its_start():
    x, w = jt.ones((1, 3, 2, 2)), jt.ones(1)
    loss = autoencoder_loss(x, x * w * 0.5, jt.array([0.1]), 1.0, w)
    assert loss.total.item() == pytest.approx(0.6) and loss.adversarial_weight.item() == 0


def test_the_velocitys_loss_and_its_learned_variance():
    """A network that is right about the velocity is right about the noise: then the bounds agree too."""
    schedule, timesteps = NoiseSchedule.linear(), np.array([1, 300, 999])
    z0, eps, eps_hat, v = arrays()
    abar = schedule.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
    z = noised(schedule, z0, eps, timesteps)
    velocity, predicted = ((noise - np.sqrt(1 - abar) * z) / np.sqrt(abar) for noise in (eps, eps_hat))

    def loss(first, prediction):
        output = np.concatenate([first, v], axis=1).astype(np.float32)
        return diffusion_loss(*map(jt.array, (output, z0, z, eps)), timesteps, schedule, prediction)

    of_v, of_eps = loss(predicted, "v"), loss(eps_hat, "eps")
    assert of_v.simple.item() == pytest.approx(np.mean((predicted - velocity) ** 2), rel=1e-4)
    assert of_v.variational.item() == pytest.approx(of_eps.variational.item(), rel=1e-4)
    np.testing.assert_allclose(velocity, np.sqrt(abar) * eps - np.sqrt(1 - abar) * z0, atol=2e-5)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_min_snr_weighs_the_error_of_the_clean_latent(prediction):
    """Hang et al. 2023: each timestep counts min(SNR, 5) times the squared error of x0, whatever is predicted."""
    schedule, timesteps = NoiseSchedule.linear(), np.array([5, 200, 700])
    z0, eps, output, _ = arrays()
    z = noised(schedule, z0, eps, timesteps).astype(np.float64)
    abar = schedule.alphas_cumprod[timesteps].reshape(-1, 1, 1, 1)
    by_eps = (z - np.sqrt(1 - abar) * output) / np.sqrt(abar)
    x0 = np.sqrt(abar) * z - np.sqrt(1 - abar) * output if prediction == "v" else by_eps
    loss = diffusion_loss(
        *map(jt.array, (output, z0, z.astype(np.float32), eps)), timesteps, schedule, prediction, "min_snr"
    )
    weight = np.minimum(abar / (1 - abar), 5)
    assert loss.total.item() == pytest.approx(np.mean(weight * (x0 - z0) ** 2), rel=1e-3)
    assert loss.simple.item() != pytest.approx(loss.total.item(), rel=1e-2)


def test_min_snr_stays_finite_where_nothing_of_the_latent_is_left():
    ends = np.array([0, 999])
    np.testing.assert_array_equal(min_snr_weights(ends, NoiseSchedule.paper(), "eps")[1], 1)
    np.testing.assert_array_equal(min_snr_weights(ends, NoiseSchedule.paper(), "v")[1], 0)
