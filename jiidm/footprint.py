"""What a config costs and where its rounds start, told before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jittor as jt

from jiidm import config as configs
from jiidm.build import build_autoencoder, build_schedule, build_unet
from jiidm.config import Config
from jiidm.report import table
from ldm_jittor.layers import ATTENTION_CHUNK

GIB = 2**30
FLOAT = 4
MAPS_PER_BLOCK = 12
"""Feature maps of a residual block's output size that training keeps for its backward pass: a rough estimate."""
LIVE_MAPS = 10
"""Feature maps of full size alive at once while decoding: fitted to the peaks of benchmarks/full_size.py."""


def describe(config: Config) -> str:
    """Parameter counts and estimated memory, as a few lines. Builds both networks, without computing anything."""
    autoencoder, unet = build_autoencoder(config.autoencoder), build_unet(config)
    counts = [sum(parameter.numel() for parameter in module.parameters()) for module in (autoencoder, unet)]
    training = config.diffusion_training
    micro_batch = training.batch_size // training.accumulation_steps
    # weights, gradient, two Adam moments, average
    train_bytes = FLOAT * (5 * counts[1] + micro_batch * MAPS_PER_BLOCK * _unet_map_elements(config))
    width, height = config.data.size
    return "\n".join(
        [
            f"config {config.name}: {width}x{height} images, {_latent_shape(config)} latents",
            f"autoencoder ({config.autoencoder.kind}): {counts[0] / 1e6:.1f} M parameters",
            f"U-Net: {counts[1] / 1e6:.1f} M parameters",
            f"inference: about {_inference_bytes(config, unet, sum(counts)) / GIB:.1f} GiB "
            f"at batch {config.inference.batch_size}",
            f"training the U-Net: about {train_bytes / GIB:.1f} GiB at {micro_batch} samples a pass",
        ]
    )


def describe_starts(names: Sequence[str]) -> str:
    """A row per config and round: start timestep, what is left of the reference there, network passes per image."""
    rows = []
    for name in names:
        config = configs.load(name)
        schedule = build_schedule(config.schedule)
        for number, spec in enumerate(config.inference.rounds, 1):
            alpha_bar = schedule.alpha_bar(spec.start_timestep)
            guided = spec.guidance_scale != 1
            rows.append(
                (
                    config.name,
                    config.schedule.kind,
                    number,
                    spec.start_timestep,
                    f"{math.sqrt(alpha_bar):.3g}",
                    f"{math.sqrt(1 - alpha_bar):.3g}",
                    spec.sampler,
                    spec.num_steps,
                    spec.num_steps * (2 if guided else 1),
                )
            )
    header = (
        "config",
        "schedule",
        "round",
        "start",
        "sqrt(abar)",
        "sqrt(1-abar)",
        "sampler",
        "steps",
        "passes",
    )
    return table(rows, header)


def _latent_shape(config: Config) -> str:
    return "x".join(map(str, (*config.latent_size, config.autoencoder.latent_channels)))


def _unet_map_elements(config: Config) -> int:
    """Output elements of all residual blocks, for one sample."""
    width, height = config.latent_size
    blocks = 2 * config.unet.num_res_blocks + 3
    return sum(
        blocks * mult * config.unet.model_channels * (width >> level) * (height >> level)
        for level, mult in enumerate(config.unet.channel_mult)
    )


def _inference_bytes(config: Config, unet: jt.nn.Module, parameters: int) -> int:
    batch, (width, height) = config.inference.batch_size, config.data.size
    branches = 2 if any(spec.guidance_scale != 1 for spec in config.inference.rounds) else 1
    latent_width, latent_height = config.latent_size
    modulations = branches * batch * unet.modulation_elements((latent_height, latent_width))
    coarse = config.autoencoder.channel_mult[min(1, len(config.autoencoder.channel_mult) - 1)]
    decoder = LIVE_MAPS * batch * width * height * config.autoencoder.channels * coarse
    scores = 3 * batch * ATTENTION_CHUNK * latent_width * latent_height
    return FLOAT * (parameters + modulations + max(decoder, scores))
