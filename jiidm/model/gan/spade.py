"""GauGAN: batch norms whose scale and shift are convolved from the mask (Park et al. 2019, arXiv:1903.07291)."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from jiidm.model.gan.generator import Generator, ResidualBlock
from jiidm.model.gan.layers import Conv2d
from jiidm.model.gan.norms import BatchNorm, tanh
from ldm_jittor.layers import resize_nearest

HIDDEN = 128
"""The published width between a mask and its modulation."""


class MaskModulation(nn.Module):
    """Two maps from a mask: segmap [B,classes,H,W] -> gamma and beta [B,channels,H,W]."""

    def __init__(self, channels: int, num_classes: int, hidden: int = HIDDEN):
        self.mlp_shared = nn.Sequential(Conv2d(num_classes, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = Conv2d(hidden, channels, 3, padding=1)

    def modulation(self, segmap: jt.Var) -> tuple[jt.Var, jt.Var]:
        hidden = self.mlp_shared(segmap)
        return self.mlp_gamma(hidden), self.mlp_beta(hidden)


class SPADE(MaskModulation):
    """norm(x) * (1 + gamma) + beta."""

    def __init__(self, channels: int, num_classes: int, hidden: int = HIDDEN):
        super().__init__(channels, num_classes, hidden)
        self.param_free_norm = BatchNorm(channels)

    def execute(self, x: jt.Var, segmap: jt.Var) -> jt.Var:
        gamma, beta = self.modulation(resize_nearest(segmap, x.shape[2:]))
        return self.param_free_norm(x) * (1 + gamma) + beta


class SPADEGenerator(Generator):
    def __init__(
        self,
        num_classes: int,
        size: tuple[int, int],
        channels: int,
        use_vae: bool = True,
        upsamplings: int = 5,
        spade_hidden: int = HIDDEN,
    ):
        def block(in_channels: int, out_channels: int) -> ResidualBlock:
            return ResidualBlock(in_channels, out_channels, lambda width: SPADE(width, num_classes, spade_hidden))

        super().__init__(num_classes, size, channels, use_vae, block, upsamplings=upsamplings)

    def execute(self, segmap: jt.Var, z: jt.Var | None = None) -> jt.Var:
        """segmap [B,classes,H,W] one-hot, z [B,256] with a VAE -> images [B,3,H,W] in [-1, 1]."""
        return tanh(self.generate(segmap, z, segmap))
