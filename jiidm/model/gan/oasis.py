"""OASIS' discriminator (Schoenfeld et al. 2021, arXiv:2012.04781): a segmenter with one more class, for generated
images.
"""

from __future__ import annotations

import jittor as jt
from jittor import nn

from jiidm.model.gan.layers import Conv2d
from jiidm.model.gan.norms import leaky_relu
from jiidm.model.gan.spectral_norm import SpectralConv2d
from ldm_jittor.layers import downsample_average
from ldm_jittor.ops import upsample_nearest

WIDTHS = (2, 2, 4, 4, 8, 8)
"""Widths of the six blocks on the way down, in multiples of `channels`."""


class OASISDiscriminator(nn.Module):
    """U-Net of six residual blocks down and six up. It has no norms but those of its weights."""

    def __init__(self, num_classes: int, channels: int):
        down = [3, *(mult * channels for mult in WIDTHS)]
        self.body_down = nn.ModuleList(
            [DownBlock(before, width, first=number == 0) for number, (before, width) in enumerate(zip(down, down[1:]))]
        )
        up = [*down[-2:0:-1], channels]
        # all blocks up but the first are also given what the way down had at their size, which is as wide
        before = [down[-1], *(2 * width for width in up[:-1])]
        self.body_up = nn.ModuleList([UpBlock(*widths) for widths in zip(before, up)])
        self.layer_up_last = Conv2d(channels, num_classes + 1, 1)

    def execute(self, image: jt.Var) -> jt.Var:
        """image [B,3,H,W] in [-1, 1], both sides divide by 64 -> logits [B,1+classes,H,W]. The first class is
        "generated".
        """
        skips = []
        x = image
        for block in self.body_down:
            x = block(x)
            skips.append(x)
        skips.pop()
        for number, block in enumerate(self.body_up):
            x = block(jt.concat([skips.pop(), x], dim=1) if number else x)
        return self.layer_up_last(x)


class DownBlock(nn.Module):
    """Two convolutions, then halve; the first block of a network starts without an activation."""

    def __init__(self, in_channels: int, out_channels: int, first: bool):
        self.first = first
        self.learned_skip = in_channels != out_channels
        conv = SpectralConv2d(in_channels, out_channels, 3, padding=1)
        self.conv1 = nn.Sequential(conv) if first else nn.Sequential(nn.LeakyReLU(0.2), conv)
        self.conv2 = nn.Sequential(nn.LeakyReLU(0.2), SpectralConv2d(out_channels, out_channels, 3, padding=1))
        if self.learned_skip:
            self.conv_s = SpectralConv2d(in_channels, out_channels, 1)

    def execute(self, x: jt.Var) -> jt.Var:
        # a 1x1 convolution and an average can change places: the cheaper order
        skip = downsample_average(x)
        skip = self.conv_s(skip) if self.learned_skip else skip
        return skip + downsample_average(self.conv2(self.conv1(x)))


class UpBlock(nn.Module):
    """Double, then two convolutions."""

    def __init__(self, in_channels: int, out_channels: int):
        self.learned_skip = in_channels != out_channels
        # the identity stands where the published layout doubles, so that the convolution keeps its name
        conv = SpectralConv2d(in_channels, out_channels, 3, padding=1)
        self.conv1 = nn.Sequential(nn.LeakyReLU(0.2), nn.Identity(), conv)
        self.conv2 = nn.Sequential(nn.LeakyReLU(0.2), SpectralConv2d(out_channels, out_channels, 3, padding=1))
        if self.learned_skip:
            self.conv_s = SpectralConv2d(in_channels, out_channels, 1)

    def execute(self, x: jt.Var) -> jt.Var:
        skip = upsample_nearest(self.conv_s(x) if self.learned_skip else x)
        *_, conv = self.conv1
        return skip + self.conv2(conv(upsample_nearest(leaky_relu(x))))
