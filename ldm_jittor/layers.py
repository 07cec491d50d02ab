"""Building blocks shared by the autoencoder and the U-Net. Feature maps are [B,C,H,W], token sequences [B,C,T]."""

from __future__ import annotations

import math
from typing import NamedTuple

import jittor as jt
from jittor import nn

from ldm_jittor import ops


class Groups(NamedTuple):
    """How group norms divide channels: into `number` groups.

    With a `min_channels` above 1 there are fewer where a group would have less than that.
    """

    number: int = 32
    min_channels: int = 1

    def of(self, channels: int) -> int:
        """The number of groups. Raises ValueError where they cannot be of equal size."""
        groups = self.number if self.min_channels == 1 else min(self.number, channels // self.min_channels)
        if groups < 1 or channels % groups:
            raise ValueError(f"{channels} channels do not divide into {groups} groups for group norm")
        return groups


RELEASED_GROUPS = Groups()
"""The groups of the released models, of SDM, latent-diffusion and diffusers, at every width."""


class Modulation(NamedTuple):
    """Scale and shift per pixel, from the mask."""

    scale: jt.Var
    """[M,C,H,W]"""
    shift: jt.Var
    """[M,C,H,W]"""
    null_scale: jt.Var | None = None
    """The null mask's scale [1,C,3,3], for samples beyond the M masks.

    It is constant except at the border of the map. So corners, edges and middle tell all of it.
    """
    null_shift: jt.Var | None = None


def zero_init(module: nn.Module) -> nn.Module:
    """Set every parameter of `module` to zero, so that a residual branch starts as the identity."""
    for parameter in module.parameters():
        parameter.assign(jt.zeros(parameter.shape))
    return module


def timestep_embedding(timesteps: jt.Var, dim: int, max_period: float = 10000.0) -> jt.Var:
    """Sinusoidal embedding [B,dim] of timesteps [B]: cosines first, then sines (guided-diffusion's order)."""
    half = dim // 2
    frequencies = jt.exp(-math.log(max_period) * jt.arange(half).float32() / half)
    angles = timesteps.float32().unsqueeze(1) * frequencies.unsqueeze(0)
    return jt.concat([jt.cos(angles), jt.sin(angles)], dim=1)


def downsample_average(x: jt.Var) -> jt.Var:
    """Halve both sides of x [B,C,H,W] by averaging 2x2 pixels; H and W must be even."""
    b, c, h, w = x.shape
    return x.reshape((b, c, h // 2, 2, w // 2, 2)).mean(dims=[3, 5])


def resize_nearest(x: jt.Var, size: tuple[int, int]) -> jt.Var:
    """Resize x [B,C,H,W] to size (height, width) taking source pixel floor(i * H / height), as PyTorch does."""
    b, c, h, w = x.shape
    if (h, w) == tuple(size):
        return x
    rows = jt.array([i * h // size[0] for i in range(size[0])], dtype="int32")
    columns = jt.array([j * w // size[1] for j in range(size[1])], dtype="int32")
    # index tables, because Jittor would compile expressions anew for every size
    return x.reindex([b, c, *size], ["i0", "i1", "@e0(i2)", "@e1(i3)"], extras=[rows, columns])


class GroupNorm(nn.GroupNorm):
    """Group normalisation, and what follows it, in one pass.

    Call it as norm(x) on [B,C,...]. `affine` [R,2C] follows the norm's own scale and shift, for each sample or, with
    R = 1, for all: times one plus its first half, plus its second. `silu` appends the activation.
    """

    def __init__(self, channels: int, groups: Groups = RELEASED_GROUPS, eps: float = 1e-5):
        super().__init__(groups.of(channels), channels, eps=eps)

    def execute(self, x: jt.Var, affine: jt.Var | None = None, silu: bool = False) -> jt.Var:
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, affine, eps=self.eps, silu=silu)


class Conv2d(nn.Conv):
    """Convolution [B,C,H,W] -> [B,O,H',W'] by the kit's own operator where that is faster."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding)

    def execute(self, x: jt.Var) -> jt.Var:
        return ops.conv2d(x, self.weight, self.bias, self.stride[0], self.padding[0])


class PointwiseConv1d(nn.Module):
    """1x1 convolution on tokens [B,C,T]. The weight is stored as [out,in,1], like PyTorch's Conv1d."""

    def __init__(self, in_channels: int, out_channels: int):
        conv = Conv2d(in_channels, out_channels, 1)
        self.weight = conv.weight.squeeze(-1)
        self.bias = conv.bias

    def execute(self, x: jt.Var) -> jt.Var:
        return ops.conv2d(x.unsqueeze(-1), self.weight.unsqueeze(-1), self.bias).squeeze(-1)


class SPADEGroupNorm(nn.Module):
    """Group norm whose scale and shift are convolved from the mask (Park et al. 2019, SPADE; here on group norm).

    Scale and shift depend on the mask alone, not on the timestep or the latent. So `modulation` computes them apart,
    and they can be kept for a whole sampling chain.
    """

    def __init__(
        self, channels: int, num_classes: int, hidden: int, groups: Groups = RELEASED_GROUPS, eps: float = 1e-5
    ):
        self.channels = channels
        self.num_groups = groups.of(channels)
        self.eps = eps
        self.mlp_shared = nn.Sequential(Conv2d(num_classes, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = Conv2d(hidden, channels, 3, padding=1)

    def modulation(self, segmap: jt.Var, guided: bool = False) -> Modulation:
        """Scale and shift of masks [B,classes,H,W] at the feature map's size; with `guided` the null mask's too."""
        return Modulation(*self._convolve(segmap), *(self._null(segmap) if guided else ()))

    def _null(self, segmap: jt.Var) -> list[jt.Var]:
        # a side of one pixel has both borders at once, and no middle
        sides = [1 if side == 1 else 3 for side in segmap.shape[2:]]
        maps = self._convolve(jt.zeros((1, segmap.shape[1], *sides)))
        return [values.expand((1, self.channels, 3, 3)) for values in maps]

    def _convolve(self, segmap: jt.Var) -> tuple[jt.Var, jt.Var]:
        hidden = self.mlp_shared(segmap)
        around_one = self.mlp_gamma.bias + 1  # cheaper than to add 1 to the whole map
        return ops.conv2d(hidden, self.mlp_gamma.weight, around_one, padding=1), self.mlp_beta(hidden)

    def execute(self, x: jt.Var, modulation: Modulation, affine: jt.Var | None = None, silu: bool = False) -> jt.Var:
        """modulation: the result of the method. The other arguments are GroupNorm's."""
        gamma, beta, null_gamma, null_beta = modulation
        null = None if null_gamma is None else (null_gamma, null_beta)
        return ops.group_norm(x, self.num_groups, gamma, beta, affine, null, eps=self.eps, silu=silu)


class AttentionBlock(nn.Module):
    """Multi-head self-attention of the U-Net. Heads are split before q, k and v (guided-diffusion's legacy order)."""

    def __init__(self, channels: int, num_head_channels: int, groups: Groups = RELEASED_GROUPS):
        if channels % num_head_channels:
            raise ValueError(f"{channels} channels do not divide into heads of {num_head_channels}")
        self.num_heads = channels // num_head_channels
        self.norm = GroupNorm(channels, groups)
        self.qkv = PointwiseConv1d(channels, 3 * channels)
        self.proj_out = zero_init(PointwiseConv1d(channels, channels))

    def execute(self, x: jt.Var) -> jt.Var:
        b, c, h, w = x.shape
        tokens = x.reshape((b, c, h * w))
        qkv = self.qkv(self.norm(tokens))  # [B, 3C, T]
        qkv = qkv.reshape((b * self.num_heads, 3, c // self.num_heads, h * w))
        out = ops.self_attention(qkv).reshape((b, c, h * w))
        return (tokens + self.proj_out(out)).reshape((b, c, h, w))
