"""A guided step in PyTorch."""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch_unet import SPADE, UNet

from benchmarks.common import sizes
from benchmarks.common.duel import Work
from benchmarks.common.torch_networks import build_unet


def cache_modulations(unet: UNet) -> None:
    """Give PyTorch what depends on the mask only once per image too, to see what the rest of the difference is."""

    def forward(self, x: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        if not hasattr(self, "modulation"):
            segmap = torch.nn.functional.interpolate(segmap, size=x.shape[2:], mode="nearest")
            shared = self.mlp_shared(segmap)
            self.modulation = 1 + self.mlp_gamma(shared), self.mlp_beta(shared)
        scale, shift = self.modulation
        return self.norm(x) * scale + shift

    for module in unet.modules():
        if isinstance(module, SPADE):
            module.forward = forward.__get__(module)


def step(arguments: argparse.Namespace) -> Work:
    """A guided prediction of eps: masked and null branch in one batch."""
    unet = build_unet(sizes.unet_arguments(arguments.size), arguments.device).eval()
    if arguments.cached:
        cache_modulations(unet)
    z = torch.from_numpy(sizes.latents(arguments.size, arguments.batch)).to(arguments.device)
    mask = torch.from_numpy(sizes.segmaps(arguments.size, arguments.batch)).to(arguments.device)
    masks = torch.cat([mask, torch.zeros_like(mask)])
    timesteps = torch.full((2 * arguments.batch,), float(sizes.TIMESTEP), device=arguments.device)

    @torch.inference_mode()
    def work() -> dict[str, np.ndarray]:
        masked, null = unet(torch.cat([z, z]), timesteps, masks)[:, :3].chunk(2)
        return {"eps": (null + sizes.GUIDANCE_SCALE * (masked - null)).cpu().numpy()}

    return work
