"""The whole pipeline in PyTorch and diffusers, as published code runs it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from oracle_samplers import SAMPLERS
from safetensors import safe_open

from benchmarks.common import sizes
from benchmarks.common.duel import Work
from benchmarks.common.torch_autoencoder import build_vq, vq_arguments
from benchmarks.common.torch_networks import build_unet, unet_arguments
from jiidm.color import color_transfer
from jiidm.config import load as configs
from jiidm.config.schema import Config, Round
from jiidm.seeding import normal

MODEL = Path(configs.__file__).parents[1] / "assets" / "demo.safetensors"


class Pipeline:
    """Generates images by the rounds of a config with a linear schedule and a VQ autoencoder."""

    def __init__(self, config: Config, timesteps: list[list[int]], arrays: dict[str, np.ndarray], device: str):
        """timesteps: every round's."""
        self.config, self.timesteps, self.device = config, timesteps, device
        schedule = config.schedule
        self.unet = build_unet(unet_arguments(config), device, under("unet.", arrays)).eval()
        self.autoencoder = build_vq(**vq_arguments(config), device=device, state=under("autoencoder.", arrays))
        self.betas = np.linspace(schedule.beta_start, schedule.beta_end, schedule.num_timesteps)
        self.alpha_bar = np.cumprod(1 - self.betas)

    @torch.inference_mode()
    def __call__(self, batch: Sequence[sizes.Scene]) -> np.ndarray:
        """A batch as `jiidm.pipeline.Pipeline` does it: uint8 RGB [B,H,W,3]."""
        names, masks, references = zip(*batch)
        factor, scale = self.config.autoencoder.downsample, self.config.autoencoder.latent_scale
        labels = torch.from_numpy(np.stack(masks)[:, ::factor, ::factor].astype(np.int64))
        segmap = torch.nn.functional.one_hot(labels, sizes.NUM_CLASSES).permute(0, 3, 1, 2).float().to(self.device)
        x = self._to_model(references)
        for number, (spec, timesteps) in enumerate(zip(self.config.inference.rounds, self.timesteps)):
            if spec.color_transfer:
                pairs = zip(to_images(x), references)
                x = self._to_model([color_transfer(*pair, self.config.inference.color_space) for pair in pairs])
            z0 = self.autoencoder.encode(x).latents * scale
            noise = np.stack([normal(tuple(z0.shape[1:]), 0, name, number, "start") for name in names])
            alpha_bar = self.alpha_bar[spec.start_timestep]
            z = alpha_bar**0.5 * z0 + (1 - alpha_bar) ** 0.5 * torch.from_numpy(noise).to(self.device)
            x = self.autoencoder.decode(self._denoise(z, segmap, spec, timesteps) / scale).sample
        return to_images(x)

    def _denoise(self, z: torch.Tensor, segmap: torch.Tensor, spec: Round, timesteps: list[int]) -> torch.Tensor:
        masks = torch.cat([segmap, torch.zeros_like(segmap)])

        def predict(z: torch.Tensor, timestep: int) -> torch.Tensor:
            low, high = spec.guidance_interval or (timestep, timestep)
            if not low <= timestep <= high:
                repeated = torch.full((len(z),), timestep, device=self.device)
                return self.unet(z, repeated, segmap)[:, : z.shape[1]]
            repeated = torch.full((2 * len(z),), timestep, device=self.device)
            masked, null = self.unet(torch.cat([z, z]), repeated, masks)[:, : z.shape[1]].chunk(2)
            return null + spec.guidance_scale * (masked - null)

        settings = {"trained_betas": self.betas} | ({"clip_sample": False} if spec.sampler == "ddim" else {})
        return SAMPLERS[spec.sampler](settings, predict, z, timesteps, [None] * len(timesteps), 0.0)

    def _to_model(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(images)).to(self.device).permute(0, 3, 1, 2) / 127.5 - 1


def to_images(x: torch.Tensor) -> np.ndarray:
    return ((x + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def shipped() -> tuple[Config, dict[str, np.ndarray]]:
    """Config and weights of the model that ships."""
    with safe_open(MODEL, framework="numpy") as file:
        arrays = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        return configs.from_saved(json.loads(file.metadata()["ldm_jittor"])["config"], str(MODEL)), arrays


def pipeline(arguments: argparse.Namespace) -> Work:
    config, arrays = shipped()
    config = dataclasses.replace(config, inference=sizes.inference(arguments.config, arguments.profile))
    paint = Pipeline(config, arguments.timesteps, arrays, arguments.device)
    scenes, size = sizes.scenes(arguments.count, config.data.size), config.inference.batch_size
    batches = [scenes[i : i + size] for i in range(0, len(scenes), size)]

    def work() -> dict[str, np.ndarray]:
        return {"images": np.concatenate([paint(batch) for batch in batches])}

    return work
