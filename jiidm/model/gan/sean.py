"""SEAN: batch norms modulated by the mask and by a style code for each class (Zhu et al. 2020, arXiv:1911.12861)."""

from __future__ import annotations

from collections.abc import Callable

import jittor as jt
from jittor import nn

from jiidm.model.gan.generator import Generator, ResidualBlock
from jiidm.model.gan.layers import Conv2d, ConvTranspose2d, conv2d, for_each_sample, matmul
from jiidm.model.gan.norms import BatchNorm, InstanceNorm, Tanh, tanh
from jiidm.model.gan.spade import HIDDEN, MaskModulation
from ldm_jittor.layers import resize_nearest

Noise = Callable[[tuple[int, int, int, int]], jt.Var]
"""Draws a plane [B,1,H,W] of normal noise, once for each norm, in the order in which they run."""


class StyleEncoder(nn.Module):
    """Photo [B,3,H,W] -> features [B,style_channels,H/2,W/2]."""

    def __init__(self, style_channels: int, channels: int = 32):
        def normed(conv: nn.Module) -> tuple[nn.Module, ...]:
            return conv, InstanceNorm(), nn.LeakyReLU(0.2)

        self.model = nn.Sequential(
            nn.ReflectionPad2d(1),
            *normed(Conv2d(3, channels, 3)),
            *normed(Conv2d(channels, 2 * channels, 3, stride=2, padding=1)),
            *normed(Conv2d(2 * channels, 4 * channels, 3, stride=2, padding=1)),
            *normed(ConvTranspose2d(4 * channels, 8 * channels, 3, stride=2, padding=1, output_padding=1)),
            nn.ReflectionPad2d(1),
            Conv2d(8 * channels, style_channels, 3),
            Tanh(),
        )

    def execute(self, image: jt.Var, segmap: jt.Var) -> jt.Var:
        """Style codes [B,classes,style_channels]: the mean feature of each class, zeros for an absent one."""
        features = self.model(image)
        b, channels, h, w = features.shape
        segmap = resize_nearest(segmap, (h, w)).reshape((b, -1, h * w))
        sums = jt.matmul(segmap, features.reshape((b, channels, h * w)).transpose(0, 2, 1))
        return sums / jt.maximum(segmap.sum(2), 1).unsqueeze(2)


class ACE(nn.Module):
    """The norm: noise, batch norm, then scale and shift blended from the mask's and the styles'.

    Without `styled` only the mask modulates. The noise is added all the same, and the blending has no effect.
    """

    def __init__(self, channels: int, num_classes: int, style_channels: int, styled: bool, spade_hidden: int = HIDDEN):
        self.styled = styled
        self.num_classes = num_classes
        self.param_free_norm = BatchNorm(channels)
        self.noise_var = jt.zeros((channels,))
        self.blending_gamma = jt.zeros((1,))
        self.blending_beta = jt.zeros((1,))
        self.Spade = MaskModulation(channels, num_classes, spade_hidden)
        if styled:
            for number in range(num_classes):
                setattr(self, f"fc_mu{number}", nn.Linear(style_channels, style_channels))
            self.conv_gamma = Conv2d(style_channels, channels, 3, padding=1)
            self.conv_beta = Conv2d(style_channels, channels, 3, padding=1)

    def execute(self, x: jt.Var, segmap: jt.Var, codes: jt.Var, noise: Noise | None) -> jt.Var:
        b, c, h, w = x.shape
        segmap = resize_nearest(segmap, (h, w))
        if noise is not None:
            x = x + noise((b, 1, h, w)) * for_each_sample(self.noise_var, b).reshape((b, c, 1, 1))
        gamma, beta = self.Spade.modulation(segmap)
        if self.styled:
            style_gamma, style_beta = self._style_modulation(segmap, codes)
            gamma_share, beta_share = (_share(value, b) for value in (self.blending_gamma, self.blending_beta))
            gamma = gamma_share * style_gamma + (1 - gamma_share) * gamma
            beta = beta_share * style_beta + (1 - beta_share) * beta
        return self.param_free_norm(x) * (1 + gamma) + beta

    def _style_modulation(self, segmap: jt.Var, codes: jt.Var) -> list[jt.Var]:
        """Gamma and beta [B,C,H,W]: each class's style spread over its pixels, then convolved.

        The map of styles is a product of the one-hot mask and the styles, so the styles are multiplied into the weights
        instead: a convolution of as many channels as there are classes, for each sample its own.
        """
        styles = self._styles(codes)
        return [_convolve_styles(segmap, styles, conv) for conv in (self.conv_gamma, self.conv_beta)]

    def _styles(self, codes: jt.Var) -> jt.Var:
        """A linear layer for each class: codes [B,classes,S] -> [B,classes,S]."""
        layers = [getattr(self, f"fc_mu{number}") for number in range(self.num_classes)]
        weights = jt.stack([layer.weight for layer in layers])  # [classes,S,S]
        biases = for_each_sample(jt.stack([layer.bias for layer in layers]), codes.shape[0])
        return nn.relu(matmul(codes.unsqueeze(2), weights.transpose(0, 2, 1)).squeeze(2) + biases)


def _share(value: jt.Var, count: int) -> jt.Var:
    """[1] -> sigmoid [count,1,1,1]. Vector units round single numbers otherwise than many, so there are always many."""
    return jt.sigmoid(for_each_sample(value.expand((16,)), count))[:, :1].reshape((count, 1, 1, 1))


def _convolve_styles(segmap: jt.Var, styles: jt.Var, conv: Conv2d) -> jt.Var:
    """conv of the map that has styles [B,classes,S] where segmap [B,classes,H,W] has ones -> [B,C,H,W]."""
    b, classes = segmap.shape[:2]
    out, s, k, _ = conv.weight.shape
    weights = matmul(styles, conv.weight.transpose(1, 0, 2, 3).reshape((s, out * k * k)))
    weights = weights.reshape((b, classes, out, k, k)).transpose(0, 2, 1, 3, 4)
    biases = for_each_sample(conv.bias, b)
    maps = [conv2d(segmap[i : i + 1], weights[i], biases[i], padding=1) for i in range(b)]
    return jt.concat(maps, dim=0)


class SEANBlock(ResidualBlock):
    """GauGAN's residual block, whose norms are named after this one."""

    NORM = "ace"


class SEANGenerator(Generator):
    """The last block is modulated by the mask only. Each of `num_classes` has a style; the released code has 19."""

    def __init__(
        self,
        num_classes: int,
        size: tuple[int, int],
        channels: int,
        style_channels: int = 512,
        style_encoder_channels: int = 32,
        spade_hidden: int = HIDDEN,
    ):
        def block(in_channels: int, out_channels: int) -> SEANBlock:
            def norm(width: int) -> ACE:
                return ACE(width, num_classes, style_channels, out_channels > channels, spade_hidden)

            return SEANBlock(in_channels, out_channels, norm)

        super().__init__(num_classes, size, channels, use_vae=False, block=block)
        self.Zencoder = StyleEncoder(style_channels, style_encoder_channels)

    def style_codes(self, image: jt.Var, segmap: jt.Var) -> jt.Var:
        """image [B,3,H,W] in [-1, 1] under its own mask [B,classes,H,W] one-hot -> codes [B,classes,style_channels],
        zeros for classes that the mask at half its size does not have."""
        return self.Zencoder(image, segmap)

    def execute(self, segmap: jt.Var, style_codes: jt.Var, noise: Noise | None = None) -> jt.Var:
        """segmap [B,classes,H,W] one-hot, style_codes [B,classes,style_channels] -> images [B,3,H,W] in [-1, 1].

        noise: how to draw the noise that the paper adds before every norm, in evaluation too; None adds none.
        """
        return tanh(self.generate(segmap, None, segmap, style_codes, noise))
