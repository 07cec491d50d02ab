"""SCGAN: convolutions and norms that the mask mixes, per pixel, from a few (Wang et al. 2021, arXiv:2109.07053)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.model.gan.generator import Generator
from jiidm.model.gan.layers import Conv2d, conv2d
from jiidm.model.gan.norms import BatchNorm, leaky_relu
from jiidm.model.gan.spade import HIDDEN, SPADE
from jiidm.model.gan.spectral_norm import SpectralConv2d
from ldm_jittor.layers import downsample_average, resize_nearest
from ldm_jittor.ops import upsample_nearest

Routing = dict[tuple[int, int], tuple[jt.Var, jt.Var]]
"""For each (height, width) the shares of the convolutions' experts [B,K,H,W] and of the norms'; they sum to 1."""
LEVELS = 6
POSITION_LEVELS = 3
"""How many of the finest levels of the mask are weighted by position."""
POSITION_WINDOW = 7
"""Side of the Gaussian that weights them."""


class RoutingNet(nn.Module):
    """From the mask at six sizes, coarse to fine: features of each, and an auxiliary image that trains them."""

    def __init__(self, num_classes: int, channels: int, spectral: bool):
        conv = partial(SpectralConv2d if spectral else Conv2d, kernel_size=3, padding=1)
        widths = [mult * channels for mult in (16, 8, 4, 2, 1, 1)]
        self.labelDec1 = nn.Sequential(conv(num_classes, widths[0]), nn.LeakyReLU(0.2), conv(widths[0], widths[0]))
        for number, (before, width) in enumerate(zip(widths, widths[1:]), start=2):
            stage = (nn.LeakyReLU(0.2), conv(before + num_classes, width), nn.LeakyReLU(0.2), conv(width, width))
            setattr(self, f"labelDec{number}", nn.Sequential(*stage))
        half = channels // 2
        self.toRGB = nn.Sequential(
            Conv2d(channels, half, 3, padding=1), nn.LeakyReLU(0.2), Conv2d(half, 3, 3, padding=1)
        )

    def execute(self, pyramid: Sequence[jt.Var]) -> tuple[list[jt.Var], jt.Var]:
        """Masks [B,classes,H/32,W/32] to [B,classes,H,W] -> six maps of features, and images [B,3,H,W] in [-1, 1]."""
        features = [self.labelDec1(pyramid[0])]
        for number, segmap in enumerate(pyramid[1:], start=2):
            x = jt.concat([upsample_nearest(features[-1]), segmap], dim=1)
            features.append(getattr(self, f"labelDec{number}")(x))
        return features, jt.clamp(self.toRGB(features[-1]), -1, 1)


def mask_pyramid(segmap: jt.Var, position: bool) -> list[jt.Var]:
    """Six masks [B,classes,H,W], the smallest first; each is half the next.

    Without `position` halving averages four pixels. With it halving takes one of four, and the three finest levels are
    weighted by position, the third starting from the second's weighted values: in a large region they are 13.6, 13.6
    and 2542 (finest first), as released.
    """
    if not position:
        levels = [segmap]
        while len(levels) < LEVELS:
            levels.append(downsample_average(levels[-1]))
        return levels[::-1]
    levels = [_weighted_by_position(segmap)]
    below = segmap
    while len(levels) < LEVELS:
        below = resize_nearest(below, (below.shape[2] // 2, below.shape[3] // 2))
        if len(levels) < POSITION_LEVELS:
            below = _weighted_by_position(below)
        levels.append(below)
    return levels[::-1]


def _weighted_by_position(segmap: jt.Var) -> jt.Var:
    """The mask times its blur under a Gaussian of 7x7 pixels, sigma 1.5, whose middle, not whose sum, is 1."""
    b, classes, h, w = segmap.shape
    reach = POSITION_WINDOW // 2
    gaussian = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * 1.5**2)).astype(np.float32)
    window = jt.array(np.outer(gaussian, gaussian)[None, None])
    return conv2d(segmap.reshape((b * classes, 1, h, w)), window, padding=reach).reshape(segmap.shape) * segmap


def _pool_channels(x: jt.Var, count: int) -> jt.Var:
    """[B,C,H,W] -> [B,count,H,W]: means over `count` overlapping ranges of channels, from floor(i*C/count) on and below
    ceil((i+1)*C/count), which is PyTorch's adaptive average pooling."""
    channels = x.shape[1]
    weights = np.zeros((count, channels, 1, 1), np.float32)
    for i in range(count):
        first, end = i * channels // count, -(-(i + 1) * channels // count)
        weights[i, first:end] = 1 / (end - first)
    return conv2d(x, jt.array(weights))


class SpatialConv2d(nn.Module):
    """Parallel 3x3 convolutions, mixed per pixel: sum of share_k * conv_k(x)."""

    def __init__(self, in_channels: int, out_channels: int, experts: int):
        convs = [SpectralConv2d(in_channels, out_channels, 3, padding=1, bias=False) for _ in range(experts)]
        self.conv_bases = nn.ModuleList(convs)

    def execute(self, x: jt.Var, shares: jt.Var) -> jt.Var:
        return sum(conv(x) * shares[:, k : k + 1] for k, conv in enumerate(self.conv_bases))


class SpatialNorm(nn.Module):
    """Batch norm whose scale and shift are mixed per pixel from a table [experts,2*channels]."""

    def __init__(self, channels: int, experts: int):
        self.param_free_norm = BatchNorm(channels)
        self.affine_params_groups = jt.zeros((experts, 2 * channels))

    def execute(self, x: jt.Var, shares: jt.Var) -> jt.Var:
        experts, width = self.affine_params_groups.shape
        maps = conv2d(shares, self.affine_params_groups.transpose(1, 0).reshape((width, experts, 1, 1)))
        return self.param_free_norm(x) * (1 + maps[:, : width // 2]) + maps[:, width // 2 :]


class SCGANBlock(nn.Module):
    """Residual block of these. Where the width changes the skip is a SPADE norm and a 3x3 convolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_classes: int,
        conv_experts: int,
        norm_experts: int,
        spade_hidden: int = HIDDEN,
    ):
        middle = min(in_channels, out_channels)
        self.learned_skip = in_channels != out_channels
        self.conv_0 = SpatialConv2d(in_channels, middle, conv_experts)
        self.conv_1 = SpatialConv2d(middle, out_channels, conv_experts)
        self.norm_0 = SpatialNorm(in_channels, norm_experts)
        self.norm_1 = SpatialNorm(middle, norm_experts)
        if self.learned_skip:
            self.conv_s = SpectralConv2d(in_channels, out_channels, 3, padding=1)
            self.norm_s = SPADE(in_channels, num_classes, spade_hidden)

    def execute(self, x: jt.Var, segmap: jt.Var, routing: Routing) -> jt.Var:
        conv_shares, norm_shares = routing[tuple(x.shape[2:])]
        skip = self.conv_s(self.norm_s(x, segmap)) if self.learned_skip else x
        h = self.conv_0(leaky_relu(self.norm_0(x, norm_shares)), conv_shares)
        return skip + self.conv_1(leaky_relu(self.norm_1(h, norm_shares)), conv_shares)


class SCGANGenerator(Generator):
    """`conv_experts` convolutions and `norm_experts` rows of a norm's table are mixed by
    softmax(temperature * logits) of a routing net `routing_channels` wide. `position`: see `mask_pyramid`."""

    def __init__(
        self,
        num_classes: int,
        size: tuple[int, int],
        channels: int,
        use_vae: bool,
        routing_channels: int,
        fc_channels: int,
        conv_experts: int,
        norm_experts: int,
        temperature: float,
        spectral_routing: bool,
        position: bool,
        spade_hidden: int = HIDDEN,
    ):
        def block(in_channels: int, out_channels: int) -> SCGANBlock:
            return SCGANBlock(in_channels, out_channels, num_classes, conv_experts, norm_experts, spade_hidden)

        super().__init__(num_classes, size, channels, use_vae, block, first_channels=fc_channels)
        self.experts = (conv_experts, norm_experts)
        self.temperature = temperature
        self.position = position
        self.pyramid_spaital_routing = RoutingNet(num_classes, routing_channels, spectral_routing)

    def execute(self, segmap: jt.Var, z: jt.Var | None = None) -> jt.Var:
        """segmap [B,classes,H,W] one-hot, z [B,256] with a VAE -> images [B,3,H,W] in [-1, 1]."""
        return self.with_auxiliary(segmap, z)[0]

    def with_auxiliary(self, segmap: jt.Var, z: jt.Var | None = None) -> tuple[jt.Var, jt.Var]:
        """As a call gives, and the routing net's own images [B,3,H,W], which a loss holds to the photos."""
        features, auxiliary = self.pyramid_spaital_routing(mask_pyramid(segmap, self.position))
        routing = {tuple(level.shape[2:]): self._shares(level) for level in features}
        return jt.clamp(self.generate(segmap, z, segmap, routing), -1, 1), auxiliary

    def _shares(self, features: jt.Var) -> tuple[jt.Var, jt.Var]:
        conv, norm = (nn.softmax(self.temperature * _pool_channels(features, k), dim=1) for k in self.experts)
        return conv, norm
