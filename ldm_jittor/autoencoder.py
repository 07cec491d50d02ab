"""The first stage: VQ-f4 and KL autoencoders in the layout and names of taming-transformers / latent-diffusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jittor as jt
from jittor import nn

from ldm_jittor import ops
from ldm_jittor.layers import Conv2d, GroupNorm, Groups
from ldm_jittor.ops import upsample_nearest


def _norm(channels: int, groups: Groups) -> GroupNorm:
    return GroupNorm(channels, groups, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, groups: Groups):
        self.norm1 = _norm(in_channels, groups)
        self.conv1 = Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels, groups)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = Conv2d(in_channels, out_channels, 1)
        self.same_channels = in_channels == out_channels

    def execute(self, x: jt.Var) -> jt.Var:
        h = self.conv1(self.norm1(x, silu=True))
        h = self.conv2(self.norm2(h, silu=True))
        return (x if self.same_channels else self.nin_shortcut(x)) + h


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions."""

    def __init__(self, channels: int, groups: Groups):
        self.norm = _norm(channels, groups)
        self.q = Conv2d(channels, channels, 1)
        self.k = Conv2d(channels, channels, 1)
        self.v = Conv2d(channels, channels, 1)
        self.proj_out = Conv2d(channels, channels, 1)

    def execute(self, x: jt.Var) -> jt.Var:
        b, c, h, w = x.shape
        normed = self.norm(x)
        q, k, v = (layer(normed).reshape((b, c, h * w)) for layer in (self.q, self.k, self.v))
        return x + self.proj_out(ops.attention(q, k, v).reshape((b, c, h, w)))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        self.conv = Conv2d(channels, channels, 3, stride=2)

    def execute(self, x: jt.Var) -> jt.Var:
        # one row and column at the bottom right only: the asymmetric padding the published weights were trained with
        return self.conv(nn.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels: int):
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.conv(upsample_nearest(x))


class Level(nn.Module):
    """The residual blocks of one resolution; `downsample` or `upsample` follows where there is one."""

    def __init__(self, blocks: list[ResnetBlock]):
        self.block = nn.ModuleList(blocks)


class Middle(nn.Module):
    def __init__(self, channels: int, groups: Groups):
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """Image [B,in_channels,H,W] -> [B,out_channels,H/f,W/f], f = 2 ** (len(ch_mult) - 1)."""

    def __init__(
        self,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        in_channels: int,
        out_channels: int,
        groups: Groups,
    ):
        self.conv_in = Conv2d(in_channels, ch, 3, padding=1)
        self.down = nn.ModuleList()
        channels = ch
        for i, mult in enumerate(ch_mult):
            widths = [channels] + [ch * mult] * num_res_blocks
            level = Level([ResnetBlock(a, b, groups) for a, b in zip(widths[:-1], widths[1:])])
            channels = ch * mult
            if i + 1 < len(ch_mult):
                level.downsample = Downsample(channels)
            self.down.append(level)
        self.mid = Middle(channels, groups)
        self.norm_out = _norm(channels, groups)
        self.conv_out = Conv2d(channels, out_channels, 3, padding=1)

    def execute(self, x: jt.Var) -> jt.Var:
        for features in self.levels(x):
            h = features  # the others may go
        return self.conv_out(self.norm_out(self.mid(h), silu=True))

    def levels(self, x: jt.Var) -> Iterator[jt.Var]:
        """The features of every resolution, finest first: [B,ch*mult,H/2**i,W/2**i]."""
        h = self.conv_in(x)
        for i, level in enumerate(self.down):
            for block in level.block:
                h = block(h)
            yield h
            if i + 1 < len(self.down):
                h = level.downsample(h)


class Decoder(nn.Module):
    """[B,z_channels,h,w] -> image [B,out_channels,f*h,f*w]. `up` is numbered by resolution: up.0 is the finest."""

    def __init__(
        self,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        z_channels: int,
        out_channels: int,
        groups: Groups,
    ):
        channels = ch * ch_mult[-1]
        self.conv_in = Conv2d(z_channels, channels, 3, padding=1)
        self.mid = Middle(channels, groups)
        levels: list[Level] = []
        for i, mult in reversed(list(enumerate(ch_mult))):
            widths = [channels] + [ch * mult] * (num_res_blocks + 1)
            level = Level([ResnetBlock(a, b, groups) for a, b in zip(widths[:-1], widths[1:])])
            channels = ch * mult
            if i > 0:
                level.upsample = Upsample(channels)
            levels.insert(0, level)
        self.up = nn.ModuleList(levels)
        self.norm_out = _norm(channels, groups)
        self.conv_out = Conv2d(channels, out_channels, 3, padding=1)

    def execute(self, z: jt.Var) -> jt.Var:
        h = self.mid(self.conv_in(z))
        for i in reversed(range(len(self.up))):
            level = self.up[i]
            for block in level.block:
                h = block(h)
            if i > 0:
                h = level.upsample(h)
        return self.conv_out(self.norm_out(h, silu=True))


class Quantized(NamedTuple):
    z: jt.Var
    """Nearest codes [B,C,h,w]; gradients pass straight through to the input."""
    loss: jt.Var
    """Codebook loss plus beta times commitment loss, scalar."""
    indices: jt.Var
    """Code numbers [B,h,w]."""


class VectorQuantizer(nn.Module):
    """Nearest-neighbour codebook (van den Oord et al. 2017), beta = 0.25 on the commitment term."""

    def __init__(self, n_embed: int, embed_dim: int, beta: float = 0.25):
        self.beta = beta
        self.embedding = nn.Embedding(n_embed, embed_dim)
        self.embedding.weight.assign(jt.init.uniform((n_embed, embed_dim), "float32", -1 / n_embed, 1 / n_embed))

    def indices(self, z: jt.Var) -> jt.Var:
        """z [B,C,h,w] -> code numbers [B,h,w]."""
        b, c, h, w = z.shape
        flat = z.transpose(0, 2, 3, 1).reshape((-1, c))
        codes = self.embedding.weight
        # |z - e|^2 without |z|^2, which is the same for every code
        distances = (codes * codes).sum(1).unsqueeze(0) - 2 * nn.matmul_transpose(flat, codes)
        return jt.argmin(distances, dim=1)[0].reshape((b, h, w))

    def execute(self, z: jt.Var) -> Quantized:
        indices = self.indices(z)
        codes = self.embedding(indices).transpose(0, 3, 1, 2)
        codebook = ((codes - z.detach()) ** 2).mean()
        commitment = ((codes.detach() - z) ** 2).mean()
        return Quantized(z + (codes - z).detach(), codebook + self.beta * commitment, indices)


class VQModel(nn.Module):
    """VQ autoencoder. `ddconfig` has latent-diffusion's keys: ch, ch_mult, num_res_blocks, in_channels, out_ch,
    z_channels. Images are [B,3,H,W] in [-1,1], latents [B,embed_dim,H/f,W/f].

    Group norms have `norm_groups` groups, or fewer where one would have less than `norm_min_channels` channels. Raises
    ValueError for a width that does not divide into them.
    """

    def __init__(self, ddconfig: dict, n_embed: int, embed_dim: int, norm_groups: int = 32, norm_min_channels: int = 1):
        groups = Groups(norm_groups, norm_min_channels)
        shared = (ddconfig["ch"], ddconfig["ch_mult"], ddconfig["num_res_blocks"])
        self.encoder = Encoder(*shared, ddconfig["in_channels"], ddconfig["z_channels"], groups)
        self.decoder = Decoder(*shared, ddconfig["z_channels"], ddconfig["out_ch"], groups)
        self.quantize = VectorQuantizer(n_embed, embed_dim)
        self.quant_conv = Conv2d(ddconfig["z_channels"], embed_dim, 1)
        self.post_quant_conv = Conv2d(embed_dim, ddconfig["z_channels"], 1)

    def encode(self, x: jt.Var) -> jt.Var:
        """Latents before quantisation, which is where the diffusion works (VQModelInterface of latent-diffusion)."""
        return self.quant_conv(self.encoder(x))

    def decode(self, z: jt.Var) -> jt.Var:
        """Quantise, then decode."""
        return self._decode_quantized(self.quantize(z).z)

    def _decode_quantized(self, z: jt.Var) -> jt.Var:
        return self.decoder(self.post_quant_conv(z))

    def execute(self, x: jt.Var, noise: jt.Var, quantize: bool = True) -> tuple[jt.Var, jt.Var]:
        """Reconstruction and codebook loss, for training. `noise` is what the KL twin needs; a codebook draws none.

        Without `quantize` the decoder sees the latents themselves, and the loss is zero.
        """
        z = self.encode(x)
        if not quantize:
            return self._decode_quantized(z), jt.zeros(1)
        quantized = self.quantize(z)
        return self._decode_quantized(quantized.z), quantized.loss

    @property
    def last_layer(self) -> jt.Var:
        """The weight at which the adversarial loss is balanced against reconstruction."""
        return self.decoder.conv_out.weight


class AutoencoderKL(nn.Module):
    """KL autoencoder: a diagonal Gaussian per position. Arguments as for VQModel, without a codebook."""

    def __init__(self, ddconfig: dict, embed_dim: int, norm_groups: int = 32, norm_min_channels: int = 1):
        groups = Groups(norm_groups, norm_min_channels)
        shared = (ddconfig["ch"], ddconfig["ch_mult"], ddconfig["num_res_blocks"])
        self.encoder = Encoder(*shared, ddconfig["in_channels"], 2 * ddconfig["z_channels"], groups)
        self.decoder = Decoder(*shared, ddconfig["z_channels"], ddconfig["out_ch"], groups)
        self.quant_conv = Conv2d(2 * ddconfig["z_channels"], 2 * embed_dim, 1)
        self.post_quant_conv = Conv2d(embed_dim, ddconfig["z_channels"], 1)

    def moments(self, x: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Mean and log-variance (clamped to [-30, 20]) of the posterior, each [B,embed_dim,h,w]."""
        mean, log_variance = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30.0, 20.0)

    def encode(self, x: jt.Var) -> jt.Var:
        """The posterior's mode, so that encoding is deterministic."""
        return self.moments(x)[0]

    def decode(self, z: jt.Var) -> jt.Var:
        return self.decoder(self.post_quant_conv(z))

    def execute(self, x: jt.Var, noise: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Reconstruction from a posterior sample and the KL divergence per image, for training.

        noise: standard normal [B,embed_dim,h,w].
        """
        mean, log_variance = self.moments(x)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dims=[1, 2, 3]).mean()
        return self.decode(mean + (0.5 * log_variance).exp() * noise), kl

    @property
    def last_layer(self) -> jt.Var:
        """The weight at which the adversarial loss is balanced against reconstruction."""
        return self.decoder.conv_out.weight


class LatentSpace:
    """An autoencoder whose latents are multiplied by `scale`, so that the diffusion sees about unit variance.

    (Rombach et al. 2022, appendix G; scale 1 for the released VQ-f4.)
    """

    def __init__(self, autoencoder: nn.Module, scale: float = 1.0):
        self.autoencoder = autoencoder
        self.scale = scale

    def encode(self, x: jt.Var) -> jt.Var:
        """Images [B,3,H,W] in [-1,1] -> scaled latents [B,C,h,w]."""
        return self.autoencoder.encode(x) * self.scale

    def decode(self, z: jt.Var) -> jt.Var:
        """Scaled latents [B,C,h,w] -> images [B,3,H,W], about [-1,1]."""
        return self.autoencoder.decode(z / self.scale)
