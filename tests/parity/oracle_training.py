"""Diffusion loss, its gradients, AdamW and EMA in PyTorch: python oracle_training.py IN.npz OUT.npz.

In: `config` (JSON, the U-Net's arguments), `weights/<name>`, `z0`, `z`, `eps` [B, C, H, W], `mask`,
`timesteps` [B], `betas`; a vector `parameter` [N] with the `gradients` [steps, N] it meets, `lr`,
`weight_decay`, `decay`. Out: `simple`, `variational`, `total`, `gradients/<name>`; `parameters` and
`averages` [steps, N].
"""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import torch
from oracle_inputs import weights
from torch.distributions import Normal, kl_divergence
from torch_unet import UNet


def posterior(z0, z, beta, alpha_bar) -> Normal:
    """q(z_prev | z, z0) by Bayes' rule: the prior q(z_prev | z0) times the likelihood q(z | z_prev)."""
    alpha = 1 - beta
    prior_variance = 1 - alpha_bar / alpha
    precision = alpha / beta + 1 / prior_variance
    mean = (alpha.sqrt() * z / beta + (alpha_bar / alpha).sqrt() * z0 / prior_variance) / precision
    return Normal(mean, precision.rsqrt())


def variational_term(eps_hat, fraction, z0, z, timestep: int, betas, alphas_cumprod) -> torch.Tensor:
    """Improved DDPM's bound (arXiv:2102.09672, eq. 4-6) at one timestep, bits per element, with eq. 15's
    variance; at timestep 0 a density instead of the discretised likelihood, latents having no bins."""
    beta, alpha_bar = betas[timestep], alphas_cumprod[timestep]
    x0_hat = (z - (1 - alpha_bar).sqrt() * eps_hat) / alpha_bar.sqrt()
    # the last step's posterior has no variance: its lower bound is borrowed from the step before
    lower = posterior(z0, z, betas[max(timestep, 1)], alphas_cumprod[max(timestep, 1)]).stddev.log() * 2
    deviation = ((fraction * beta.log() + (1 - fraction) * lower) / 2).exp()
    if timestep == 0:
        return -Normal(x0_hat, deviation).log_prob(z0).mean() / math.log(2)
    model = Normal(posterior(x0_hat, z, beta, alpha_bar).mean, deviation)
    return kl_divergence(posterior(z0, z, beta, alpha_bar), model).mean() / math.log(2)


def diffusion_loss(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    unet = UNet(**json.loads(str(inputs["config"])))
    unet.load_state_dict(weights(inputs))
    z0, z, eps, mask, timesteps, betas = (
        torch.from_numpy(inputs[name]) for name in ("z0", "z", "eps", "mask", "timesteps", "betas")
    )
    prediction, variance = unet(z, timesteps, mask).chunk(2, dim=1)
    fraction = (variance.double() + 1) / 2  # the network's -1 ... 1
    simple = (prediction - eps).square().mean()
    terms = [
        variational_term(
            prediction[i].detach().double(),
            fraction[i],
            z0[i].double(),
            z[i].double(),
            int(timesteps[i]),
            betas,
            torch.cumprod(1 - betas, 0),
        )
        for i in range(len(z))
    ]
    variational = torch.stack(terms).mean()
    total = simple + 0.001 * len(betas) * variational  # the bound is a sum over all timesteps
    total.backward()
    gradients = {f"gradients/{name}": value.grad.numpy() for name, value in unet.named_parameters()}
    losses = {"simple": simple, "variational": variational, "total": total}
    return {**{name: value.detach().numpy() for name, value in losses.items()}, **gradients}


def optimization(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    parameter = torch.nn.Parameter(torch.from_numpy(inputs["parameter"]))
    average = parameter.detach().double()
    optimizer = torch.optim.AdamW([parameter], lr=float(inputs["lr"]), weight_decay=float(inputs["weight_decay"]))
    parameters, averages = [], []
    for step, gradient in enumerate(inputs["gradients"]):
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
        average = average.lerp(parameter.detach().double(), 1 - min(float(inputs["decay"]), (1 + step) / (10 + step)))
        parameters.append(parameter.detach().numpy().copy())
        averages.append(average.numpy())
    return {"parameters": np.stack(parameters), "averages": np.stack(averages)}


def main(source: str, target: str) -> None:
    with np.load(source) as file:
        inputs = dict(file)
    np.savez(target, **diffusion_loss(inputs), **optimization(inputs))


if __name__ == "__main__":
    main(*sys.argv[1:])
