"""diffusers' VQ autoencoder with our weights, encoding and decoding."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from diffusers import VQModel

from benchmarks.common import sizes
from benchmarks.common.duel import Work
from benchmarks.common.torch_networks import State, load, random_state
from jiidm.config.schema import Config
from ldm_jittor.formats.names import from_diffusers_vq, to_diffusers_vq


def build_vq(
    ch: int,
    ch_mult: Sequence[int],
    num_res_blocks: int,
    n_embed: int,
    device: str,
    state: State | None = None,
    norm_groups: int = 32,
    norm_min_channels: int = 1,
) -> VQModel:
    """Arguments as our VQModel has them, in `ddconfig` too."""
    levels = len(ch_mult)
    model = VQModel(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=[ch * mult for mult in ch_mult],
        layers_per_block=num_res_blocks,
        latent_channels=3,
        num_vq_embeddings=n_embed,
        vq_embed_dim=3,
    )
    for module in model.modules():
        if isinstance(module, torch.nn.GroupNorm):  # diffusers has one number of groups for all widths
            module.num_groups = min(norm_groups, module.num_channels // norm_min_channels)
    if state is None:
        state = random_state(from_diffusers_vq({name: value.numpy() for name, value in model.state_dict().items()}))
    load(model, to_diffusers_vq(state))
    return model.eval().to(device)


def vq_arguments(config: Config) -> dict:
    """Those of a config's autoencoder."""
    vq = config.autoencoder
    layout = dict(ch=vq.channels, ch_mult=vq.channel_mult, num_res_blocks=vq.num_res_blocks, n_embed=vq.codebook_size)
    return {**layout, "norm_groups": vq.norm_groups, "norm_min_channels": vq.norm_min_channels}


def encode(arguments: argparse.Namespace) -> Work:
    model = build_vq(**sizes.AUTOENCODERS[arguments.size], device=arguments.device)
    x = torch.from_numpy(sizes.images(arguments.size, arguments.batch)).to(arguments.device)

    @torch.inference_mode()
    def work() -> dict[str, np.ndarray]:
        return {"encode": model.encode(x).latents.cpu().numpy()}

    return work


def decode(arguments: argparse.Namespace) -> Work:
    model = build_vq(**sizes.AUTOENCODERS[arguments.size], device=arguments.device)
    codebook = model.quantize.embedding.weight.detach().cpu().numpy()
    z = torch.from_numpy(sizes.codes(arguments.size, arguments.batch, codebook)).to(arguments.device)

    @torch.inference_mode()
    def work() -> dict[str, np.ndarray]:
        return {"decode": model.decode(z).sample.cpu().numpy()}

    return work
