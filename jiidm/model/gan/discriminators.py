"""Discriminators that tell photos from generated images of a mask: patches at two scales, and a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jittor as jt
from jittor import nn

from jiidm.model.gan.layers import Conv2d
from jiidm.model.gan.norms import InstanceNorm
from jiidm.model.gan.spectral_norm import SpectralConv2d
from ldm_jittor.layers import downsample_average


class Verdict(NamedTuple):
    logits: list[jt.Var]
    """Maps [B,1,h,w], high where it looks like a photo; losses average over the maps."""
    features: list[list[jt.Var]]
    """The features that feature matching compares. It sums over the maps of a group and averages over the groups."""


class MultiscaleDiscriminator(nn.Module):
    """PatchGANs on the image and on its half (Wang et al. 2018, arXiv:1711.11585), which see the mask too.

    `strides` are those of the convolutions before the last: (2, 2, 2, 1) in GauGAN, (2, 2, 2) in SEAN.
    """

    def __init__(self, num_classes: int, channels: int, strides: Sequence[int]):
        self.discriminator_0 = PatchDiscriminator(num_classes + 3, channels, strides)
        self.discriminator_1 = PatchDiscriminator(num_classes + 3, channels, strides)

    def execute(self, segmap: jt.Var, image: jt.Var) -> Verdict:
        """segmap [B,classes,H,W] one-hot, image [B,3,H,W] in [-1, 1]."""
        x = jt.concat([segmap, image], dim=1)
        maps = [self.discriminator_0(x), self.discriminator_1(_halve(x))]
        return Verdict([scale[-1] for scale in maps], [scale[:-1] for scale in maps])


def _halve(x: jt.Var) -> jt.Var:
    """Means of every second 3x3 pixels. At the border only pixels inside the image count."""
    # Jittor's pooling counts the padding whatever count_include_pad says
    means, inside = (nn.avg_pool2d(y, 3, stride=2, padding=1) for y in (x, jt.ones((1, 1, *x.shape[2:]))))
    return means / inside


class PatchDiscriminator(nn.Module):
    def __init__(self, in_channels: int, channels: int, strides: Sequence[int]):
        widths = [channels * 2 ** min(level, 3) for level in range(len(strides))]
        first = Conv2d(in_channels, channels, 4, stride=strides[0], padding=2)
        self.model0 = nn.Sequential(first, nn.LeakyReLU(0.2))
        for number, stride in enumerate(strides[1:], start=1):
            self._add(number, _normed(widths[number - 1], widths[number], 4, stride, padding=2))
        self._add(len(strides), nn.Sequential(Conv2d(widths[-1], 1, 4, stride=1, padding=2)))
        self.num_layers = len(strides) + 1

    def _add(self, number: int, layer: nn.Module) -> None:
        setattr(self, f"model{number}", layer)

    def execute(self, x: jt.Var) -> list[jt.Var]:
        """Every layer's output, the logits last."""
        outputs = []
        for number in range(self.num_layers):
            x = getattr(self, f"model{number}")(x)
            outputs.append(x)
        return outputs


class FPSEDiscriminator(nn.Module):
    """Feature pyramid with a semantic embedding (Liu et al. 2019, arXiv:1910.06809), of SCGAN without a VAE.

    It sees the image only, and compares what it finds with an embedding of the mask.
    """

    def __init__(self, num_classes: int, channels: int):
        widths = [3, channels, 2 * channels, 4 * channels, 8 * channels, 8 * channels]
        for level in range(1, 6):
            setattr(self, f"enc{level}", _normed(widths[level - 1], widths[level], 3, stride=2, padding=1))
        for level in range(2, 6):
            setattr(self, f"lat{level}", _normed(widths[level], 4 * channels, 1))
        for level in range(2, 5):
            setattr(self, f"final{level}", _normed(4 * channels, 2 * channels, 3, padding=1))
        self.tf = Conv2d(2 * channels, 1, 1)
        self.seg = Conv2d(2 * channels, 2 * channels, 1)
        self.embedding = Conv2d(num_classes, 2 * channels, 1)

    def execute(self, segmap: jt.Var, image: jt.Var) -> Verdict:
        """segmap [B,classes,H,W] one-hot, image [B,3,H,W] in [-1, 1]; both sides divide by 32."""
        features = {}
        x = image
        for level in range(1, 6):
            x = features[level] = getattr(self, f"enc{level}")(x)
        embedding = downsample_average(self.embedding(segmap))
        top = self.lat5(features[5])
        pyramid = {}
        for level in (4, 3, 2):
            lateral = getattr(self, f"lat{level}")(features[level])
            top = pyramid[level] = nn.interpolate(top, tuple(lateral.shape[2:]), mode="bilinear") + lateral
        logits = []
        for level in (2, 3, 4):
            embedding = downsample_average(embedding)
            found = getattr(self, f"final{level}")(pyramid[level])
            logits.append(self.tf(found) + (embedding * self.seg(found)).sum(1, keepdims=True))
        return Verdict(logits, [[features[level]] for level in range(2, 6)])


def _normed(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0) -> nn.Module:
    conv = SpectralConv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
    return nn.Sequential(nn.Sequential(conv, InstanceNorm()), nn.LeakyReLU(0.2))
