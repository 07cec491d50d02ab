"""The VAE's encoder of GauGAN, CLADE and SCGAN: a style code from a photo (Park et al. 2019, arXiv:1903.07291)."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from jiidm.model.gan.generator import STYLE_CHANNELS
from jiidm.model.gan.layers import Linear
from jiidm.model.gan.norms import InstanceNorm, leaky_relu
from jiidm.model.gan.spectral_norm import SpectralConv2d

SIDE = 256
"""Every photo is stretched to this square first."""


class ImageEncoder(nn.Module):
    """Six convolutions that halve, each with instance norm, and then two linear maps."""

    def __init__(self, channels: int):
        widths = [3, channels, 2 * channels, 4 * channels, 8 * channels, 8 * channels, 8 * channels]
        for number, (before, width) in enumerate(zip(widths, widths[1:]), start=1):
            conv = SpectralConv2d(before, width, 3, stride=2, padding=1, bias=False)
            setattr(self, f"layer{number}", nn.Sequential(conv, InstanceNorm()))
        side = SIDE // 2**6
        self.fc_mu = Linear(widths[-1] * side * side, STYLE_CHANNELS)
        self.fc_var = Linear(widths[-1] * side * side, STYLE_CHANNELS)

    def execute(self, image: jt.Var) -> tuple[jt.Var, jt.Var]:
        """image [B,3,H,W] in [-1, 1] of any size -> mean and log variance [B,256] of its style code."""
        x = nn.interpolate(image, (SIDE, SIDE), mode="bilinear")
        for number in range(1, 7):
            x = leaky_relu(getattr(self, f"layer{number}")(x))
        x = x.reshape((x.shape[0], -1))
        return self.fc_mu(x), self.fc_var(x)
