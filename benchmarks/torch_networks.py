"""The networks of the PyTorch sides. Weights go by our names; by default they are those that the Jittor twins draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import sizes
import torch
from diffusers import VQModel
from torch_unet import UNet

from ldm_jittor.convert import from_diffusers_vq, to_diffusers_vq

State = Mapping[str, np.ndarray]


def build_unet(arguments: dict, device: str, state: State | None = None) -> UNet:
    """Arguments as our UNet has them."""
    unet = UNet(**arguments)
    _load(unet, state or _random(unet.state_dict()))
    return unet.to(device)


def build_vq(
    ch: int, ch_mult: Sequence[int], num_res_blocks: int, n_embed: int, device: str, state: State | None = None
) -> VQModel:
    """Arguments as our VQModel has them in `ddconfig`."""
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
            module.num_groups = min(32, module.num_channels // 4)
    if state is None:
        state = _random(from_diffusers_vq({name: value.numpy() for name, value in model.state_dict().items()}))
    _load(model, to_diffusers_vq(state))
    return model.eval().to(device)


def _random(state: Mapping) -> State:
    return dict(sizes.random_weights((name, tuple(value.shape)) for name, value in state.items()))


def _load(module: torch.nn.Module, state: State) -> None:
    module.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
