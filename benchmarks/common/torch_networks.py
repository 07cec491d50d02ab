"""The U-Net of the PyTorch sides. Weights carry our names; by default they are those that the Jittor twins draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch_unet import UNet

from benchmarks.common import sizes
from jiidm.config.schema import Config

State = Mapping[str, np.ndarray]


def build_unet(arguments: dict, device: str, state: State | None = None) -> UNet:
    """Arguments as our UNet has them."""
    unet = UNet(**arguments)
    load(unet, state or random_state(unet.state_dict()))
    return unet.to(device)


def unet_arguments(config: Config) -> dict:
    """Those of a config's U-Net."""
    settings, channels = dataclasses.asdict(config.unet), config.autoencoder.latent_channels
    settings.pop("prediction")  # the network is the same
    outputs = channels * (2 if settings.pop("learn_variance") else 1)
    return {"in_channels": channels, "out_channels": outputs, "num_classes": sizes.NUM_CLASSES, **settings}


def random_state(state: Mapping) -> State:
    return dict(sizes.random_weights((name, tuple(value.shape)) for name, value in state.items()))


def load(module: torch.nn.Module, state: State) -> None:
    module.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
