"""Training losses: diffusion (simple + variational), autoencoder, and its patch discriminator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jittor as jt
import numpy as np
from jittor import nn

from ldm_jittor.schedules import NoiseSchedule, per_sample

VB_WEIGHT = 1e-3
"""Weight of the variational bound against the simple loss (Nichol & Dhariwal 2021: lambda = 0.001)."""


MIN_SNR_GAMMA = 5.0
"""The signal-to-noise ratio above which a timestep's error of x0 weighs no more (Hang et al. 2023, section 4.2)."""


class DiffusionLoss(NamedTuple):
    total: jt.Var
    simple: jt.Var
    """Without weights, so that it compares across them."""
    variational: jt.Var
    """In bits per dimension per timestep; zero for a network that learns no variance."""


def diffusion_loss(
    output: jt.Var,
    z0: jt.Var,
    z: jt.Var,
    eps: jt.Var,
    timesteps: np.ndarray,
    schedule: NoiseSchedule,
    prediction: str = "eps",
    weighting: str = "uniform",
) -> DiffusionLoss:
    """Loss of a network's output [B,C or 2C,H,W] at z = add_noise(z0, eps, timesteps).

    z0, z, eps: [B,C,H,W]; timesteps: [B]. `simple` is the mean squared error of eps (Ho et al. 2020, eq. 14), or of the
    velocity, with the prediction "v". With the weighting "min_snr" it enters the total by `min_snr_weights`.
    `variational` is the bound's term of each timestep, and its gradient reaches the variance only. The total weighs the
    sum of these terms over all timesteps by 0.001 (Nichol & Dhariwal 2021, eq. 16). At timestep 0 the term is the
    density of z0 under the last step's Gaussian, because latents have no 8-bit bins to integrate over.
    """
    channels = z0.shape[1]
    predicted = output[:, :channels]
    target = schedule.velocity(z0, eps, timesteps) if prediction == "v" else eps
    squared = (predicted - target) ** 2
    simple = weighted = squared.mean()
    if weighting == "min_snr":
        weighted = (per_sample(min_snr_weights(timesteps, schedule, prediction)) * squared).mean()
    if output.shape[1] == channels:
        return DiffusionLoss(weighted, simple, jt.zeros(1))
    eps_hat = schedule.eps_of_velocity(predicted, z, timesteps) if prediction == "v" else predicted
    fraction = (output[:, channels:] + 1) / 2
    variational = _variational_bound(eps_hat.detach(), fraction, z0, z, timesteps, schedule).mean()
    return DiffusionLoss(weighted + VB_WEIGHT * schedule.num_timesteps * variational, simple, variational)


def min_snr_weights(timesteps: np.ndarray, schedule: NoiseSchedule, prediction: str = "eps") -> np.ndarray:
    """Weights [B] by which x0's squared error counts min(SNR, gamma) times (Hang et al. 2023, arXiv:2303.09556).

    eps' squared error is SNR times that of x0, and the velocity's is SNR + 1 times.
    """
    snr = schedule.snr(timesteps)
    if prediction == "v":
        return np.minimum(snr, MIN_SNR_GAMMA) / (snr + 1)
    return MIN_SNR_GAMMA / np.maximum(snr, MIN_SNR_GAMMA)  # min(SNR, gamma) / SNR, also where SNR is 0


def _variational_bound(eps_hat, fraction, z0, z, timesteps, schedule) -> jt.Var:
    """KL(q(z_prev | z, z0) || p(z_prev | z)), or the negative log-density at timestep 0; bits per element."""
    timesteps = np.asarray(timesteps)
    beta = schedule.betas[timesteps]
    alpha_bar = schedule.alphas_cumprod[timesteps]
    alpha_bar_previous = np.where(timesteps > 0, schedule.alphas_cumprod[timesteps - 1], 1.0)
    posterior = _posterior_log_variance(schedule)[timesteps]

    true_mean = (
        per_sample(np.sqrt(alpha_bar_previous) * beta / (1 - alpha_bar)) * z0
        + per_sample(np.sqrt(1 - beta) * (1 - alpha_bar_previous) / (1 - alpha_bar)) * z
    )
    # as in the ancestral sampler: with beta = 1 nothing of z0 is left, and the mean is zero
    reciprocal = np.where(beta < 1, 1 / np.sqrt(np.maximum(1 - beta, 1e-30)), 0.0)
    mean = per_sample(reciprocal) * (z - per_sample(beta / np.sqrt(1 - alpha_bar)) * eps_hat)
    log_variance = fraction * per_sample(np.log(beta)) + (1 - fraction) * per_sample(posterior)

    squared = ((true_mean - mean) ** 2) * (-log_variance).exp()
    gap = log_variance - per_sample(posterior)
    kl = 0.5 * (gap + (-gap).exp() - 1 + squared)
    density = 0.5 * (math.log(2 * math.pi) + log_variance + ((z0 - mean) ** 2) * (-log_variance).exp())
    first = per_sample(timesteps == 0)
    return (first * density + (1 - first) * kl) / math.log(2)


def _posterior_log_variance(schedule: NoiseSchedule) -> np.ndarray:
    """log((1 - abar_prev) / (1 - abar) beta). The variance is 0 at timestep 0, which takes timestep 1's value."""
    previous = np.append(1.0, schedule.alphas_cumprod[:-1])
    variance = schedule.betas * (1 - previous) / (1 - schedule.alphas_cumprod)
    return np.log(np.append(variance[1:2] if len(variance) > 1 else schedule.betas, variance[1:]))


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al. 2017): image [B,3,H,W] -> logits, one per overlapping patch."""

    def __init__(self, channels: int = 64, num_layers: int = 3, in_channels: int = 3):
        layers = [nn.Conv(in_channels, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i in range(1, num_layers + 1):
            width, next_width = channels * min(2 ** (i - 1), 8), channels * min(2**i, 8)
            stride = 2 if i < num_layers else 1
            layers += [
                nn.Conv(width, next_width, 4, stride=stride, padding=1),
                nn.GroupNorm(16, next_width),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv(channels * min(2**num_layers, 8), 1, 4, stride=1, padding=1))
        self.main = nn.Sequential(*layers)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.main(x)


def hinge_loss(real_logits: jt.Var, fake_logits: jt.Var) -> jt.Var:
    """The discriminator's loss (Lim & Ye 2017)."""
    return 0.5 * (nn.relu(1 - real_logits).mean() + nn.relu(1 + fake_logits).mean())


class AutoencoderLoss(NamedTuple):
    total: jt.Var
    reconstruction: jt.Var
    regularization: jt.Var
    adversarial: jt.Var
    adversarial_weight: jt.Var


def autoencoder_loss(
    x: jt.Var,
    reconstruction: jt.Var,
    regularization: jt.Var,
    regularization_weight: float,
    last_layer: jt.Var,
    fake_logits: jt.Var | None = None,
    discriminator_weight: float = 0.0,
    mean_over_ranks: Callable[[jt.Var], jt.Var] = lambda gradient: gradient,
) -> AutoencoderLoss:
    """L1 reconstruction + codebook or KL term + adversarial term, balanced as in VQGAN (Esser et al. 2021, eq. 7).

    x, reconstruction: [B,3,H,W] in [-1,1]. `regularization` is the codebook loss or the KL per image. The adversarial
    term joins once the discriminator's `fake_logits` are given. Its weight is the ratio of both terms' gradients at
    `last_layer`, each the mean over the whole batch: where `x` is a part of it, `mean_over_ranks` completes that mean.
    """
    l1 = (x - reconstruction).abs().mean()
    total = l1 + regularization_weight * regularization
    if fake_logits is None:
        return AutoencoderLoss(total, l1, regularization, jt.zeros(1), jt.zeros(1))
    adversarial = -fake_logits.mean()
    l1_gradient = mean_over_ranks(jt.grad(l1, last_layer, retain_graph=True))
    adversarial_gradient = mean_over_ranks(jt.grad(adversarial, last_layer, retain_graph=True))
    ratio = l1_gradient.sqr().sum().sqrt() / (adversarial_gradient.sqr().sum().sqrt() + 1e-4)
    weight = discriminator_weight * ratio.clamp(0.0, 1e4).detach()
    return AutoencoderLoss(total + weight * adversarial, l1, regularization, adversarial, weight)
