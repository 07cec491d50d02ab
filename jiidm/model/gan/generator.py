"""What the four generators share: seven residual blocks with five nearest upsamplings between them."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
from jittor import nn

from jiidm.model.gan.layers import Conv2d, Linear
from jiidm.model.gan.norms import leaky_relu
from jiidm.model.gan.spectral_norm import SpectralConv2d
from ldm_jittor.layers import resize_nearest
from ldm_jittor.ops import upsample_nearest

STYLE_CHANNELS = 256
"""Width of the code that the VAE's encoder gives."""


class Generator(nn.Module):
    """GauGAN's skeleton (Park et al. 2019, arXiv:1903.07291). `size` is (height, width) of the images.

    `block(in_channels, out_channels)` makes a residual block, which is called with the features and whatever `generate`
    was given as condition. The first features are a linear map of a style code z with `use_vae`, else a convolution
    of the shrunken mask. `upsamplings` is 5, or 6 for GauGAN's variant with one more between the middle blocks.
    Raises ValueError where the size does not halve evenly that often.
    """

    def __init__(
        self,
        num_classes: int,
        size: tuple[int, int],
        channels: int,
        use_vae: bool,
        block: Callable[[int, int], nn.Module],
        first_channels: int | None = None,
        upsamplings: int = 5,
    ):
        factor = 2**upsamplings
        if any(side % factor for side in size):
            raise ValueError(
                f"{size[1]}x{size[0]} does not divide by {factor}, as {upsamplings} upsamplings of a generator need"
            )
        wide = 16 * channels
        first = 16 * (first_channels or channels)
        self.upsamplings = upsamplings
        self.first_shape = (first, size[0] // factor, size[1] // factor)
        if use_vae:
            self.fc = Linear(STYLE_CHANNELS, first * self.first_shape[1] * self.first_shape[2])
        else:
            self.fc = Conv2d(num_classes, first, 3, padding=1)
        self.head_0 = block(first, wide)
        self.G_middle_0 = block(wide, wide)
        self.G_middle_1 = block(wide, wide)
        self.up_0 = block(wide, wide // 2)
        self.up_1 = block(wide // 2, wide // 4)
        self.up_2 = block(wide // 4, wide // 8)
        self.up_3 = block(wide // 8, channels)
        self.conv_img = Conv2d(channels, 3, 3, padding=1)

    def generate(self, segmap: jt.Var, z: jt.Var | None, *condition) -> jt.Var:
        """Images [B,3,H,W] before the last activation, of segmap [B,classes,H,W] one-hot and z [B,256] or None.

        Raises ValueError where z is missing or one too many.
        """
        x = self.head_0(self._first_features(segmap, z), *condition)
        x = self.G_middle_0(upsample_nearest(x), *condition)
        if self.upsamplings == 6:
            x = upsample_nearest(x)
        x = self.G_middle_1(x, *condition)
        for block in (self.up_0, self.up_1, self.up_2, self.up_3):
            x = block(upsample_nearest(x), *condition)
        return self.conv_img(leaky_relu(x))

    def _first_features(self, segmap: jt.Var, z: jt.Var | None) -> jt.Var:
        with_vae = isinstance(self.fc, nn.Linear)
        if with_vae == (z is None):
            raise ValueError("a generator with a VAE needs a style code z, and one without has no use for it")
        if with_vae:
            return self.fc(z).reshape((-1, *self.first_shape))
        return self.fc(resize_nearest(segmap, self.first_shape[1:]))


class ResidualBlock(nn.Module):
    """Norm, leaky ReLU, convolution, twice; the skip has a norm and a 1x1 convolution where the width changes.

    `norm(channels)` makes a norm, which is called with the features and the condition. The norms are the parameters
    `NORM`_0, `NORM`_1 and `NORM`_s, as published.
    """

    NORM = "norm"

    def __init__(self, in_channels: int, out_channels: int, norm: Callable[[int], nn.Module]):
        middle = min(in_channels, out_channels)
        self.learned_skip = in_channels != out_channels
        self.conv_0 = SpectralConv2d(in_channels, middle, 3, padding=1)
        self.conv_1 = SpectralConv2d(middle, out_channels, 3, padding=1)
        setattr(self, f"{self.NORM}_0", norm(in_channels))
        setattr(self, f"{self.NORM}_1", norm(middle))
        if self.learned_skip:
            self.conv_s = SpectralConv2d(in_channels, out_channels, 1, bias=False)
            setattr(self, f"{self.NORM}_s", norm(in_channels))

    def execute(self, x: jt.Var, *condition) -> jt.Var:
        # the skip's norm comes first: SEAN's norms draw noise in the order in which they are called
        skip = self.conv_s(self._norm("s")(x, *condition)) if self.learned_skip else x
        h = self.conv_0(leaky_relu(self._norm("0")(x, *condition)))
        return skip + self.conv_1(leaky_relu(self._norm("1")(h, *condition)))

    def _norm(self, place: str) -> nn.Module:
        return getattr(self, f"{self.NORM}_{place}")
