"""A plain PyTorch SPADE U-Net in the layout of the released model: the oracle of ldm_jittor.unet.

Guided diffusion's U-Net (Dhariwal and Nichol, arXiv:2105.05233) whose middle and decoder are modulated by
the mask (SPADE, Park et al., arXiv:1903.07291), as in semantic diffusion (Wang et al., arXiv:2207.00050).
In the shape comments D is the width of the timestep embedding and S the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn


def timestep_embedding(timesteps: torch.Tensor, width: int, max_period: float = 10000.0) -> torch.Tensor:
    """Cosines then sines at `width // 2` geometrically spaced frequencies: [B] -> [B, width]."""
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, device=timesteps.device) / half)
    angles = timesteps.float()[:, None] * frequencies[None]  # [B, width/2]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


Norm = Callable[..., nn.GroupNorm]


def group_norm(groups: int, min_channels: int, channels: int, affine: bool = True) -> nn.GroupNorm:
    """`groups` groups, but never fewer than `min_channels` channels in one."""
    return nn.GroupNorm(min(groups, channels // min_channels), channels, affine=affine)


def halve(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x, 2)


def double(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class SPADE(nn.Module):
    def __init__(self, channels: int, norm: Norm, num_classes: int, hidden: int):
        super().__init__()
        self.norm = norm(channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(num_classes, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        segmap = F.interpolate(segmap, size=x.shape[2:], mode="nearest")  # [B, S, H, W]
        shared = self.mlp_shared(segmap)  # [B, hidden, H, W]
        return self.norm(x) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)  # [B, C, H, W]


class ResBlock(nn.Module):
    """Residual block; the embedding scales and shifts the second norm. `resample`: None, halve or double."""

    def __init__(self, channels: int, out_channels: int, emb_channels: int, norm: Norm, resample=None):
        super().__init__()
        self.resample = resample or nn.Identity()
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels))
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        self.build(channels, out_channels, norm)

    def build(self, channels: int, out_channels: int, norm: Norm) -> None:
        self.in_layers = nn.Sequential(norm(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1))
        self.out_layers = nn.Sequential(
            norm(out_channels),
            nn.SiLU(),
            nn.Dropout(0.0),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )

    def norm_in(self, x: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        return self.in_layers[0](x)

    def norm_out(self, h: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        return self.out_layers[0](h)

    def forward(self, x: torch.Tensor, emb: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        conv_in, conv_out = self.in_layers[-1], self.out_layers[-1]
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, dim=1)  # [B, C', 1, 1] each
        h = conv_in(self.resample(F.silu(self.norm_in(x, segmap))))  # [B, C', H', W']
        h = self.norm_out(h, segmap) * (1 + scale) + shift  # [B, C', H', W']
        return self.skip_connection(self.resample(x)) + conv_out(F.silu(h))  # [B, C', H', W']


class SPADEResBlock(ResBlock):
    """The same, both normalisations modulated by the mask."""

    def __init__(self, channels, out_channels, emb_channels, norm, num_classes, spade_hidden, resample=None):
        self.spade = num_classes, spade_hidden
        super().__init__(channels, out_channels, emb_channels, norm, resample)

    def build(self, channels: int, out_channels: int, norm: Norm) -> None:
        self.in_norm = SPADE(channels, norm, *self.spade)
        self.in_layers = nn.Sequential(nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1))
        self.out_norm = SPADE(out_channels, norm, *self.spade)
        self.out_layers = nn.Sequential(nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(out_channels, out_channels, 3, padding=1))

    def norm_in(self, x: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        return self.in_norm(x, segmap)

    def norm_out(self, h: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        return self.out_norm(h, segmap)


class Attention(nn.Module):
    """Self-attention over the pixels; the channels of `qkv` are heads, then q, k, v within each head."""

    def __init__(self, channels: int, num_head_channels: int, norm: Norm):
        super().__init__()
        self.num_heads = channels // num_head_channels
        self.norm = norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor, emb: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        pixels = x.flatten(2)  # [B, C, N]
        qkv = self.qkv(self.norm(pixels))  # [B, 3C, N]
        q, k, v = qkv.unflatten(1, (self.num_heads, 3, -1)).mT.unbind(2)  # [B, heads, N, C/heads] each
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)  # [B, heads, N, N]
        h = (weights @ v).mT.flatten(1, 2)  # [B, C, N]
        return (pixels + self.proj_out(h)).view_as(x)  # [B, C, H, W]


class Convolution(nn.Conv2d):
    def forward(self, x: torch.Tensor, emb: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class Stage(nn.ModuleList):
    def forward(self, x: torch.Tensor, emb: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        for layer in self:
            x = layer(x, emb, segmap)
        return x


class UNet(nn.Module):
    def __init__(
        self,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_res_blocks: int,
        attention_downsamples: tuple[int, ...],
        channel_mult: tuple[int, ...],
        num_classes: int,
        num_head_channels: int,
        spade_hidden: int = 128,
        norm_groups: int = 32,
        norm_min_channels: int = 1,
    ):
        super().__init__()
        self.model_channels = model_channels
        emb = 4 * model_channels
        norm = partial(group_norm, norm_groups, norm_min_channels)
        spade = emb, norm, num_classes, spade_hidden
        self.time_embed = nn.Sequential(nn.Linear(model_channels, emb), nn.SiLU(), nn.Linear(emb, emb))

        def attention(channels: int, downsample: int) -> list[nn.Module]:
            return [Attention(channels, num_head_channels, norm)] if downsample in attention_downsamples else []

        self.input_blocks = nn.ModuleList([Stage([Convolution(in_channels, model_channels, 3, padding=1)])])
        widths = [model_channels]  # of every stage's output: what the decoder concatenates
        for level, mult in enumerate(channel_mult):
            for _ in range(num_res_blocks):
                block = ResBlock(widths[-1], mult * model_channels, emb, norm)
                widths.append(mult * model_channels)
                self.input_blocks.append(Stage([block, *attention(widths[-1], 2**level)]))
            if level < len(channel_mult) - 1:
                self.input_blocks.append(Stage([ResBlock(widths[-1], widths[-1], emb, norm, halve)]))
                widths.append(widths[-1])

        width = widths[-1]
        self.middle_block = Stage(
            [
                SPADEResBlock(width, width, *spade),
                Attention(width, num_head_channels, norm),
                SPADEResBlock(width, width, *spade),
            ]
        )

        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(channel_mult))):
            for index in range(num_res_blocks + 1):
                block = SPADEResBlock(width + widths.pop(), mult * model_channels, *spade)
                width = mult * model_channels
                self.output_blocks.append(Stage([block, *attention(width, 2**level)]))
                if level > 0 and index == num_res_blocks:
                    self.output_blocks[-1].append(SPADEResBlock(width, width, *spade, double))

        self.out = nn.Sequential(norm(width), nn.SiLU(), nn.Conv2d(width, out_channels, 3, padding=1))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, segmap: torch.Tensor) -> torch.Tensor:
        """x [B, C, H, W], timesteps [B], segmap one-hot [B, S, any, any] -> [B, out_channels, H, W]."""
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels))  # [B, D]
        skips = []
        for stage in self.input_blocks:
            x = stage(x, emb, segmap)
            skips.append(x)
        x = self.middle_block(x, emb, segmap)
        for stage in self.output_blocks:
            x = stage(torch.cat([x, skips.pop()], dim=1), emb, segmap)
        return self.out(x)
