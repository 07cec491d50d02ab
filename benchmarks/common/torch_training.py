"""A training step in PyTorch: Improved DDPM's loss (arXiv:2102.09672), AdamW, an average of the weights."""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.common import sizes
from benchmarks.common.duel import Work
from benchmarks.common.torch_networks import build_unet


class Diffusion:
    """The linear schedule's tables, and the loss."""

    def __init__(self, device: str):
        betas = np.linspace(1e-4, 2e-2, 1000)
        alpha_bar = np.cumprod(1 - betas)
        previous = np.append(1.0, alpha_bar[:-1])
        variance = betas * (1 - previous) / (1 - alpha_bar)
        tables = {
            "sqrt_alpha_bar": np.sqrt(alpha_bar),
            "sigma": np.sqrt(1 - alpha_bar),
            "of_z0": np.sqrt(previous) * betas / (1 - alpha_bar),
            "of_z": np.sqrt(1 - betas) * (1 - previous) / (1 - alpha_bar),
            "log_beta": np.log(betas),
            "log_posterior": np.log(np.append(variance[1], variance[1:])),
        }
        self.tables = {name: torch.from_numpy(table).float().to(device) for name, table in tables.items()}

    def loss(self, unet: torch.nn.Module, z0, eps, timesteps, segmap) -> torch.Tensor:
        """Mean squared error of eps, plus the variational bound whose gradient reaches the variance only."""
        return sum(self.terms(unet, z0, eps, timesteps, segmap))  # a sum over 1000 timesteps, times 0.001

    def terms(self, unet: torch.nn.Module, z0, eps, timesteps, segmap) -> tuple[torch.Tensor, torch.Tensor]:
        at = {name: table[timesteps][:, None, None, None] for name, table in self.tables.items()}
        z = at["sqrt_alpha_bar"] * z0 + at["sigma"] * eps
        eps_hat, variance = unet(z, timesteps, segmap).chunk(2, dim=1)
        simple = torch.nn.functional.mse_loss(eps_hat, eps)
        x0_hat = (z - at["sigma"] * eps_hat.detach()) / at["sqrt_alpha_bar"]
        mean = at["of_z0"] * x0_hat + at["of_z"] * z
        true_mean = at["of_z0"] * z0 + at["of_z"] * z
        fraction, posterior = (variance + 1) / 2, at["log_posterior"]
        log_variance = fraction * at["log_beta"] + (1 - fraction) * posterior
        precision = torch.exp(-log_variance)
        gap = log_variance - posterior
        kl = 0.5 * (gap - 1 + torch.exp(-gap) + (true_mean - mean) ** 2 * precision)
        density = 0.5 * (math.log(2 * math.pi) + log_variance + (z0 - mean) ** 2 * precision)
        bound = torch.where((timesteps == 0)[:, None, None, None], density, kl).mean() / math.log(2)
        return simple, bound


def train_step(arguments: argparse.Namespace) -> Work:
    device = arguments.device
    unet, diffusion = build_unet(sizes.unet_arguments(arguments.size), device), Diffusion(device)
    optimizer = torch.optim.AdamW(unet.parameters(), sizes.LEARNING_RATE, weight_decay=0.0, fused=True)
    average = AveragedModel(unet, multi_avg_fn=get_ema_multi_avg_fn(0.9999))
    z0, eps = (sizes.latents(arguments.size, arguments.batch, seed) for seed in (1, 2))
    arrays = (z0, eps, sizes.timesteps(arguments.batch), sizes.segmaps(arguments.size, arguments.batch))
    batch = [torch.from_numpy(array).to(device) for array in arrays]
    parameters = dict(unet.named_parameters())

    def work() -> dict[str, np.ndarray]:
        loss = diffusion.loss(unet, *batch)
        loss.backward()
        optimizer.step()
        average.update_parameters(unet)
        if device == "cuda":
            torch.cuda.synchronize()
        moments = {name: optimizer.state[parameters[name]]["exp_avg"].cpu().numpy() for name in sizes.GRADIENTS}
        optimizer.zero_grad()
        return {"loss": loss.detach().cpu().numpy(), **moments}

    return work
