"""SegFormer (Xie et al. 2021): a hierarchical transformer that labels every pixel.

Parameters are named as in Hugging Face's SegformerForSemanticSegmentation. Feature maps are [B,H,W,C], because the
linear layers and norms work on channels and Jittor hands two-dimensional products to oneDNN.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.errors import InputError
from ldm_jittor import ops
from ldm_jittor.layers import Conv2d

HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
"""For each stage: how much each side of the map shrinks before it serves as keys and values."""
MLP_RATIO = 4
SMALLEST_SIDE = 4 * REDUCTIONS[0]


class Architecture(NamedTuple):
    """The sizes of a SegFormer. Every list has one entry per stage."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    decoder_width: int
    num_classes: int
    heads: tuple[int, ...] = HEADS


_LARGE = (64, 128, 320, 512)
PRESETS = {  # name: widths, depths, decoder width (the paper's Table 6; "tiny" is ours, half of B0)
    "tiny": ((16, 32, 80, 128), (2, 2, 2, 2), 128),
    "b0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": (_LARGE, (2, 2, 2, 2), 256),
    "b2": (_LARGE, (3, 4, 6, 3), 768),
    "b3": (_LARGE, (3, 4, 18, 3), 768),
    "b4": (_LARGE, (3, 8, 27, 3), 768),
    "b5": (_LARGE, (3, 6, 40, 3), 768),
}


class SegFormer(nn.Module):
    """Images [B,3,H,W], normalised -> logits [B,classes,H/4,W/4]."""

    def __init__(self, architecture: Architecture):
        self.segformer = _Backbone(architecture)
        self.decode_head = DecodeHead(architecture)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.decode_head(self.encode(x))

    def encode(self, x: jt.Var) -> list[jt.Var]:
        """The normalised output of every stage, [B,h,w,C] at 1/4, 1/8, 1/16 and 1/32 of the sides.

        Raises InputError for images so small that the shrunken maps hold no token.
        """
        if min(x.shape[2:]) < SMALLEST_SIDE:
            size = f"{x.shape[3]}x{x.shape[2]}"
            raise InputError(f"images of {size} are too small for a SegFormer: {SMALLEST_SIDE} pixels a side at least")
        return self.segformer.encoder(x)

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """While the block runs, BatchNorm uses its running averages."""
        norm = self.decode_head.batch_norm
        before, norm.is_train = norm.is_train, False
        try:
            yield
        finally:
            norm.is_train = before


class _Backbone(nn.Module):
    """The level that Hugging Face's names have between the network and its encoder."""

    def __init__(self, architecture: Architecture):
        self.encoder = MixTransformer(architecture)


class MixTransformer(nn.Module):
    """The hierarchical encoder, MiT."""

    def __init__(self, architecture: Architecture):
        widths, inputs = architecture.widths, (3, *architecture.widths)
        self.patch_embeddings = nn.ModuleList(
            [PatchEmbedding(i, width, stride=2 if stage else 4) for stage, (i, width) in enumerate(zip(inputs, widths))]
        )
        stages = zip(widths, architecture.depths, architecture.heads, REDUCTIONS)
        self.block = nn.ModuleList(
            [nn.ModuleList([Block(width, *rest) for _ in range(depth)]) for width, depth, *rest in stages]
        )
        self.layer_norm = nn.ModuleList([nn.LayerNorm(width) for width in widths])

    def execute(self, x: jt.Var) -> list[jt.Var]:
        outputs = []
        for embed, blocks, norm in zip(self.patch_embeddings, self.block, self.layer_norm):
            x = embed(x)
            for block in blocks:
                x = block(x)
            outputs.append(norm(x))
            x = channels_first(outputs[-1])
        return outputs


class PatchEmbedding(nn.Module):
    """Overlapping patches: a strided convolution of [B,C,H,W] to normalised [B,h,w,width]."""

    def __init__(self, in_channels: int, width: int, stride: int):
        kernel = 2 * stride - 1
        self.proj = Conv2d(in_channels, width, kernel, stride, padding=kernel // 2)
        self.layer_norm = nn.LayerNorm(width)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.layer_norm(channels_last(self.proj(x)))


class Block(nn.Module):
    """Efficient self-attention, then Mix-FFN, each behind a layer norm and added to its input."""

    def __init__(self, width: int, heads: int, reduction: int):
        self.layer_norm_1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, reduction)
        self.layer_norm_2 = nn.LayerNorm(width)
        self.mlp = MixFFN(width)

    def execute(self, x: jt.Var) -> jt.Var:
        x = x + self.attention(self.layer_norm_1(x))
        return x + self.mlp(self.layer_norm_2(x))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int):
        self.self = EfficientSelfAttention(width, heads, reduction)
        self.output = _Dense(width)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.output.dense(self.self(x))


class _Dense(nn.Module):
    def __init__(self, width: int):
        self.dense = nn.Linear(width, width)


class EfficientSelfAttention(nn.Module):
    """Self-attention whose keys and values come from a map shrunk `reduction`-fold per side (the paper's eq. 2)."""

    def __init__(self, width: int, heads: int, reduction: int):
        self.heads, self.reduction = heads, reduction
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        if reduction > 1:
            self.sr = Conv2d(width, width, reduction, reduction)
            self.layer_norm = nn.LayerNorm(width)

    def execute(self, x: jt.Var) -> jt.Var:
        context = x if self.reduction == 1 else self.layer_norm(channels_last(self.sr(channels_first(x))))
        q, k, v = self._split(self.query(x)), self._split(self.key(context)), self._split(self.value(context))
        b, h, w, c = x.shape
        return channels_last(ops.attention(q, k, v).reshape((b, c, h, w)))  # heads are the outer part of the channels

    def _split(self, x: jt.Var) -> jt.Var:
        """[B,H,W,C] -> [B*heads, C/heads, H*W]."""
        b, h, w, c = x.shape
        return channels_first(x).reshape((b * self.heads, c // self.heads, h * w))


class MixFFN(nn.Module):
    """Two linear layers with a 3x3 depthwise convolution between, which tells positions apart (eq. 3)."""

    def __init__(self, width: int):
        hidden = MLP_RATIO * width
        self.dense1 = nn.Linear(width, hidden)
        self.dwconv = _DepthwiseConv(hidden)
        self.dense2 = nn.Linear(hidden, width)

    def execute(self, x: jt.Var) -> jt.Var:
        hidden = self.dwconv.dwconv(channels_first(self.dense1(x)))
        return self.dense2(channels_last(nn.gelu(hidden)))


class _DepthwiseConv(nn.Module):
    def __init__(self, width: int):
        self.dwconv = nn.Conv(width, width, 3, padding=1, groups=width)


class DecodeHead(nn.Module):
    """The all-MLP decoder (eq. 4): every stage to one width, upsampled to the first one's size, fused, classified.

    The fusing convolution is linear, and so is upsampling. Each stage therefore takes its part of that convolution,
    joined with its own linear layer, before it is upsampled. The result is the same at a fraction of the cost.
    """

    def __init__(self, architecture: Architecture):
        width, stages = architecture.decoder_width, architecture.widths
        self.linear_c = nn.ModuleList([_Projection(stage, width) for stage in stages])
        self.linear_fuse = nn.Conv(len(stages) * width, width, 1, bias=False)
        self.batch_norm = nn.BatchNorm(width)
        self.classifier = Conv2d(width, architecture.num_classes, 1)

    def execute(self, features: Sequence[jt.Var]) -> jt.Var:
        size = features[0].shape[1:3]
        total = 0
        # the released network concatenates the deepest stage first
        fuses = self.linear_fuse.weight[:, :, 0, 0].chunk(len(features), dim=1)[::-1]
        for x, linear, fuse in zip(features, self.linear_c, fuses):
            joined = jt.matmul(fuse, linear.proj.weight), jt.matmul(fuse, linear.proj.bias)
            x = channels_first(nn.linear(x, *joined))
            total = total + (x if x.shape[2:] == size else upsample_bilinear(x, size))
        return self.classifier(nn.relu(self.batch_norm(total)))


class _Projection(nn.Module):
    def __init__(self, in_features: int, width: int):
        self.proj = nn.Linear(in_features, width)


def channels_first(x: jt.Var) -> jt.Var:
    return x.permute(0, 3, 1, 2)


def channels_last(x: jt.Var) -> jt.Var:
    return x.permute(0, 2, 3, 1)


def upsample_bilinear(
    x: jt.Var, size: Sequence[int], rows: slice = slice(None), columns: slice = slice(None)
) -> jt.Var:
    """Resize x [B,C,h,w] to `size` (height, width) as PyTorch does with align_corners=False, by two matrix products.

    `rows` and `columns` choose the part of the result to compute.
    """
    b, c, h, w = x.shape
    across = jt.array(_interpolation(w, size[1])[columns])
    down = jt.array(_interpolation(h, size[0])[rows])
    x = nn.matmul_transpose(x.reshape((b * c * h, w)), across).reshape((b, c, h, -1)).transpose(0, 1, 3, 2)
    x = nn.matmul_transpose(x.reshape((-1, h)), down)
    return x.reshape((b, c, across.shape[0], down.shape[0])).transpose(0, 1, 3, 2)


@functools.lru_cache(maxsize=32)
def _interpolation(source: int, target: int) -> np.ndarray:
    """The matrix [target,source] of linear interpolation between pixel centres, edges repeated."""
    position = np.maximum((np.arange(target) + 0.5) * source / target - 0.5, 0)
    low = np.minimum(position.astype(int), source - 1)
    high = np.minimum(low + 1, source - 1)
    matrix = np.zeros((target, source), np.float32)
    matrix[np.arange(target), low] += 1 - (position - low)
    matrix[np.arange(target), high] += position - low
    return matrix
