"""First weights of the GANs, as their published code draws them."""

from __future__ import annotations

import math

import jittor as jt
from jittor import nn

from jiidm.model.gan.spectral_norm import SpectralConv2d

GAIN = 0.02


def initialize(network: nn.Module, spectral: bool) -> None:
    """Draw the weights of convolutions and linear layers from Xavier's normal distribution of gain 0.02; biases are 0.

    spectral: also draw those under spectral norm, as SCGAN does. The others' code means to. On a GPU, though, its
    weights stay uniform, as SpectralConv2d draws them. The function is the same, since sigma divides the scale out, but
    Adam changes it less in a step.
    """
    for _, module in network.named_modules():
        if isinstance(module, (nn.Conv, nn.ConvTranspose, nn.Linear)):
            module.weight.assign(_xavier_normal(tuple(module.weight.shape)))
            module.bias.assign(jt.zeros(module.bias.shape))
        elif spectral and isinstance(module, SpectralConv2d):
            module.weight_orig.assign(_xavier_normal(tuple(module.weight_orig.shape)))


def _xavier_normal(shape: tuple[int, ...]) -> jt.Var:
    fans = (shape[0] + shape[1]) * math.prod(shape[2:])
    return jt.init.gauss(shape, "float32", 0, GAIN * math.sqrt(2 / fans))
