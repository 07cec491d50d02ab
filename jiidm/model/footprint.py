"""What a config costs, known before anything runs."""

from __future__ import annotations

import math

import jittor as jt

from jiidm.config.schema import Config
from jiidm.model.build import build_autoencoder, build_unet
from jiidm.model.gflop import decode_gflop, encode_gflop, unet_gflop
from ldm_jittor.ops import ATTENTION_CHUNK
from ldm_jittor.unet import UNet

GIB = 2**30
FLOAT = 4
FIXED = GIB // 4
"""Python, its libraries, Jittor, and the scratch memory of convolutions.

`jiidm infer` with the demo model takes little else.
"""
MAPS_PER_BLOCK = 12
"""Feature maps of a residual block's output size that training keeps for its backward pass: a rough estimate."""
LIVE_MAPS = 5
"""Feature maps of full size alive at once while decoding: fitted to the peak in benchmarks/speed/decode.py."""
RECOMPUTED_SHARE = 0.36
"""The share of those maps that gradient checkpointing keeps: benchmarks/speed/train_step.py --size mid, batch 16
less batch 4.
"""


def fitting_batch(config: Config, unet: UNet) -> int:
    """How many images go together: as many as configured, or as `inference.modulation_memory` holds."""
    image_bytes = 4 * unet.modulation_elements(config.latent_size)
    return max(1, min(config.inference.batch_size, int(config.inference.modulation_memory * 2**30 / image_bytes)))


def describe(config: Config) -> str:
    """Parameters, GFLOP and estimated memory, as a few lines. It builds both networks and computes nothing."""
    autoencoder, unet = build_autoencoder(config.autoencoder), build_unet(config)
    counts = [sum(parameter.numel() for parameter in module.parameters()) for module in (autoencoder, unet)]
    training = config.diffusion_training
    micro_batch = training.batch_size // training.accumulation_steps
    kept = MAPS_PER_BLOCK * (RECOMPUTED_SHARE if training.gradient_checkpointing else 1)
    # weights, gradient, two Adam moments, average
    train_bytes = FIXED + FLOAT * (5 * counts[1] + micro_batch * kept * _unet_map_elements(config))
    return "\n".join(
        [
            f"config {config.name}: {config.data.size} images, "
            f"{config.latent_size}x{config.autoencoder.latent_channels} latents",
            f"autoencoder ({config.autoencoder.kind}): {counts[0] / 1e6:.1f} M parameters, "
            f"{encode_gflop(autoencoder, config.data.size):.4g} GFLOP to encode an image and "
            f"{decode_gflop(autoencoder, config.data.size):.4g} to decode one",
            f"U-Net: {counts[1] / 1e6:.1f} M parameters, {unet_gflop(unet, config.latent_size):.4g} GFLOP a pass",
            f"inference: about {_inference_bytes(config, unet, sum(counts)) / GIB:.1f} GiB "
            f"at batch {fitting_batch(config, unet)}",
            f"training the U-Net: about {train_bytes / GIB:.1f} GiB at {micro_batch} samples a pass",
        ]
    )


def _unet_map_elements(config: Config) -> int:
    """Output elements of all residual blocks, for one sample."""
    height, width = config.latent_size
    blocks = 2 * config.unet.num_res_blocks + 3
    return sum(
        blocks * mult * config.unet.model_channels * (height >> level) * (width >> level)
        for level, mult in enumerate(config.unet.channel_mult)
    )


def _inference_bytes(config: Config, unet: jt.nn.Module, parameters: int) -> int:
    batch = fitting_batch(config, unet)
    modulations = batch * unet.modulation_elements(config.latent_size)
    coarse = config.autoencoder.channel_mult[min(1, len(config.autoencoder.channel_mult) - 1)]
    decoder = LIVE_MAPS * batch * math.prod(config.data.size) * config.autoencoder.channels * coarse
    scores = ATTENTION_CHUNK * math.prod(config.latent_size)
    return FIXED + FLOAT * (parameters + modulations + max(decoder, scores))
