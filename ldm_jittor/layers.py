"""Building blocks shared by the autoencoder and the U-Net. Feature maps are [B,C,H,W], token sequences [B,C,T]."""

from __future__ import annotations

import math

import jittor as jt
from jittor import nn

NUM_GROUPS = 32
MIN_CHANNELS_PER_GROUP = 4
"""One channel a group would be instance norm, which erases every colour's mean: small models did not learn with it."""
ATTENTION_CHUNK = 1024
"""Queries per attention chunk. 12,288 tokens (512x384 at f4) in one piece need a 0.6 GB matrix per image."""


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


def upsample_nearest(x: jt.Var) -> jt.Var:
    """Double both sides of x [B,C,H,W] by repeating pixels."""
    b, c, h, w = x.shape
    return x.reshape((b, c, h, 1, w, 1)).expand((b, c, h, 2, w, 2)).reshape((b, c, 2 * h, 2 * w))


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
    # index tables rather than expressions: Jittor would compile a kernel for every size otherwise
    return x.reindex([b, c, *size], ["i0", "i1", "@e0(i2)", "@e1(i3)"], extras=[rows, columns])


class GroupNorm(nn.GroupNorm):
    """Group normalisation in 32 groups, or fewer below 128 channels, for 4 channels a group.

    With `affine=False` it has no parameters (SPADE brings its own).
    """

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = True):
        groups = min(NUM_GROUPS, channels // MIN_CHANNELS_PER_GROUP)
        super().__init__(groups, channels, eps=eps, affine=affine)


class PointwiseConv1d(nn.Module):
    """1x1 convolution on tokens [B,C,T], the weight stored as [out,in,1] like PyTorch's Conv1d."""

    def __init__(self, in_channels: int, out_channels: int):
        conv = nn.Conv(in_channels, out_channels, 1)
        self.weight = conv.weight.squeeze(-1)
        self.bias = conv.bias

    def execute(self, x: jt.Var) -> jt.Var:
        return nn.conv2d(x.unsqueeze(-1), self.weight.unsqueeze(-1), self.bias).squeeze(-1)


def batched_matmul(a: jt.Var, b: jt.Var) -> jt.Var:
    """[N,I,K] x [N,K,J] -> [N,I,J]. On the CPU Jittor hands only two-dimensional products to oneDNN."""
    if jt.flags.use_cuda:
        return jt.matmul(a, b)
    return jt.stack([jt.matmul(a[i], b[i]) for i in range(a.shape[0])])


def attention(q: jt.Var, k: jt.Var, v: jt.Var) -> jt.Var:
    """Softmax attention over tokens: q, k, v [N,C,T] -> [N,C,T], scale 1/sqrt(C), in chunks of queries."""
    scale = 1.0 / math.sqrt(q.shape[1])
    queries = q.transpose(0, 2, 1) * scale
    values = v.transpose(0, 2, 1)
    outputs = []
    for start in range(0, queries.shape[1], ATTENTION_CHUNK):
        scores = batched_matmul(queries[:, start : start + ATTENTION_CHUNK], k)
        outputs.append(batched_matmul(nn.softmax(scores, dim=-1), values))
    return jt.concat(outputs, dim=1).transpose(0, 2, 1)


class SPADEGroupNorm(nn.Module):
    """Group norm whose scale and shift are convolved from the mask (Park et al. 2019, SPADE; here on group norm).

    The scale and shift depend on the mask alone, not on the timestep or the latent, so they are computed apart by
    `modulation` and can be kept for a whole sampling chain.
    """

    def __init__(self, channels: int, num_classes: int, hidden: int, eps: float = 1e-5):
        self.channels = channels
        self.norm = GroupNorm(channels, eps=eps, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv(num_classes, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv(hidden, channels, 3, padding=1)

    def modulation(self, segmap: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Mask [B,classes,H,W] at the feature map's size -> scale and shift, each [B,C,H,W]."""
        hidden = self.mlp_shared(segmap)
        return 1 + self.mlp_gamma(hidden), self.mlp_beta(hidden)

    def execute(self, x: jt.Var, modulation: tuple[jt.Var, jt.Var]) -> jt.Var:
        scale, shift = modulation
        return self.norm(x) * scale + shift


class AttentionBlock(nn.Module):
    """Multi-head self-attention of the U-Net. Heads are split before q, k and v (guided-diffusion's legacy order)."""

    def __init__(self, channels: int, num_head_channels: int):
        if channels % num_head_channels:
            raise ValueError(f"{channels} channels do not divide into heads of {num_head_channels}")
        self.num_heads = channels // num_head_channels
        self.norm = GroupNorm(channels)
        self.qkv = PointwiseConv1d(channels, 3 * channels)
        self.proj_out = zero_init(PointwiseConv1d(channels, channels))

    def execute(self, x: jt.Var) -> jt.Var:
        b, c, h, w = x.shape
        tokens = x.reshape((b, c, h * w))
        qkv = self.qkv(self.norm(tokens))  # [B, 3C, T]
        qkv = qkv.reshape((b * self.num_heads, 3, c // self.num_heads, h * w))
        out = attention(qkv[:, 0], qkv[:, 1], qkv[:, 2]).reshape((b, c, h * w))
        return (tokens + self.proj_out(out)).reshape((b, c, h, w))
