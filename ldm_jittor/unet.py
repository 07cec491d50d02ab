"""The SPADE-conditioned U-Net, top to bottom, with the parameter names of the released model.

The layout is guided-diffusion's U-Net (Dhariwal & Nichol 2021). Its middle and decoder blocks take the mask through
SPADE (Semantic Diffusion Model, Wang et al. 2022). Encoder blocks do not see the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jittor as jt
from jittor import nn

from ldm_jittor.gradient_checkpointing import recomputed
from ldm_jittor.layers import (
    AttentionBlock,
    Conv2d,
    GroupNorm,
    Groups,
    Modulation,
    SPADEGroupNorm,
    downsample_average,
    resize_nearest,
    timestep_embedding,
    zero_init,
)
from ldm_jittor.ops import upsample_nearest

Modulations = dict[SPADEGroupNorm, Modulation]
"""Scale and shift of every SPADE norm."""


class MaskPyramid:
    """The mask at every level's size. It computes a norm's modulation whenever it is asked for it.

    Training uses this, so that gradient checkpointing can compute it again. Sampling keeps `Modulations`.
    """

    def __init__(self, masks: Sequence[jt.Var], levels: dict[SPADEGroupNorm, int], guided: bool):
        """masks: [B,num_classes,H/2**level,W/2**level] at `level`. levels: the level at which each norm works."""
        self.masks = masks
        self.levels = levels
        self.guided = guided

    def __getitem__(self, norm: SPADEGroupNorm) -> Modulation:
        return norm.modulation(self.masks[self.levels[norm]], self.guided)


def _skip(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Identity() if in_channels == out_channels else Conv2d(in_channels, out_channels, 1)


class ResBlock(nn.Module):
    """Encoder block: norm, SiLU, (halve), conv; norm scaled and shifted by the timestep, SiLU, conv; residual."""

    def __init__(self, in_channels: int, emb_channels: int, out_channels: int, groups: Groups, down: bool = False):
        self.down = down
        self.in_layers = nn.Sequential(
            GroupNorm(in_channels, groups), nn.SiLU(), Conv2d(in_channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels))
        # the released layout has a dropout in place of the identity: so the convolution keeps its name
        self.out_layers = nn.Sequential(
            GroupNorm(out_channels, groups),
            nn.SiLU(),
            nn.Identity(),
            zero_init(Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = _skip(in_channels, out_channels)

    def execute(self, x: jt.Var, emb: jt.Var) -> jt.Var:
        norm, _, conv = self.in_layers
        h = norm(x, silu=True)
        if self.down:
            h, x = downsample_average(h), downsample_average(x)
        h = conv(h)  # [B, out, H, W]
        norm, *_, conv = self.out_layers
        _, linear = self.emb_layers  # UNet has applied the SiLU, once for all blocks
        affine = linear(emb)  # [R, 2 * out]
        return self.skip_connection(x) + conv(norm(h, affine, silu=True))


class SPADEResBlock(nn.Module):
    """Middle and decoder block: as ResBlock, with both norms modulated by the mask.

    `level` is the log2 of the input's downsampling. `up` doubles the input's sides.
    """

    def __init__(
        self,
        in_channels: int,
        emb_channels: int,
        out_channels: int,
        num_classes: int,
        spade_hidden: int,
        groups: Groups,
        level: int,
        up: bool = False,
    ):
        self.level = level
        self.up = up
        self.in_norm = SPADEGroupNorm(in_channels, num_classes, spade_hidden, groups)
        self.in_layers = nn.Sequential(nn.SiLU(), Conv2d(in_channels, out_channels, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels))
        self.out_norm = SPADEGroupNorm(out_channels, num_classes, spade_hidden, groups)
        self.out_layers = nn.Sequential(
            nn.SiLU(), nn.Identity(), zero_init(Conv2d(out_channels, out_channels, 3, padding=1))
        )
        self.skip_connection = _skip(in_channels, out_channels)

    @property
    def norm_levels(self) -> dict[SPADEGroupNorm, int]:
        """The two norms, and the level of the maps that each of them sees."""
        return {self.in_norm: self.level, self.out_norm: self.level - self.up}

    def execute(self, x: jt.Var, emb: jt.Var, modulations: Modulations | MaskPyramid) -> jt.Var:
        _, conv = self.in_layers
        h = self.in_norm(x, modulations[self.in_norm], silu=True)
        if self.up:
            h, x = upsample_nearest(h), upsample_nearest(x)
        h = conv(h)  # [B, out, H, W]
        *_, conv = self.out_layers
        _, linear = self.emb_layers  # UNet has applied the SiLU, once for all blocks
        affine = linear(emb)  # [R, 2 * out]
        h = self.out_norm(h, modulations[self.out_norm], affine, silu=True)
        return self.skip_connection(x) + conv(h)


class BlockSequence(nn.Sequential):
    """Layers in turn. The encoder keeps one skip of each stage, and the decoder takes one for each."""

    def execute(self, modulations: Modulations | MaskPyramid, emb: jt.Var, *inputs: jt.Var) -> jt.Var:
        """emb [R,emb_channels], after its SiLU; inputs [B,C,H,W] each, taken side by side -> [B,C',H',W']."""
        h = inputs[0] if len(inputs) == 1 else jt.concat(inputs, dim=1)
        for layer in self:
            if isinstance(layer, SPADEResBlock):
                h = layer(h, emb, modulations)
            elif isinstance(layer, ResBlock):
                h = layer(h, emb)
            else:
                h = layer(h)
        return h


class UNet(nn.Module):
    """Predicts the noise of a latent under a mask, and with `out_channels = 2 * in_channels` its variance too.

    A network of `prediction` "v" was trained to give the velocity in the noise's place, see NoiseSchedule.velocity.
    `attention_downsamples` are the downsampling factors (1, 2, 4, ...) with self-attention. `channel_mult` has one
    entry per resolution. Group norms have `norm_groups` groups, or fewer where a group would have less than
    `norm_min_channels` channels. With the attribute `gradient_checkpointing` set, training takes less memory and more
    time.
    Raises ValueError for a width that does not divide into groups, or into heads.
    The released model is
    UNet(3, 256, 6, 2, (4, 8, 16), (1, 1, 2, 3, 4), num_classes=29, num_head_channels=64).
    """

    def __init__(
        self,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_res_blocks: int,
        attention_downsamples: Sequence[int],
        channel_mult: Sequence[int],
        num_classes: int,
        num_head_channels: int,
        spade_hidden: int = 128,
        norm_groups: int = 32,
        norm_min_channels: int = 1,
        prediction: str = "eps",
    ):
        self.prediction = prediction
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.model_channels = model_channels
        self.num_classes = num_classes
        self.num_levels = len(channel_mult)
        self.emb_channels = 4 * model_channels
        self.spade_hidden = spade_hidden
        self.groups = Groups(norm_groups, norm_min_channels)
        self.gradient_checkpointing = False

        def with_attention(block, channels, downsample):
            attend = downsample in attention_downsamples
            return BlockSequence(block, *([AttentionBlock(channels, num_head_channels, self.groups)] if attend else []))

        self.time_embed = nn.Sequential(
            nn.Linear(model_channels, self.emb_channels), nn.SiLU(), nn.Linear(self.emb_channels, self.emb_channels)
        )
        widths = [mult * model_channels for mult in channel_mult]
        skips = self._build_encoder(widths, num_res_blocks, with_attention)
        self.middle_block = BlockSequence(
            self._spade_block(widths[-1], widths[-1], self.num_levels - 1),
            AttentionBlock(widths[-1], num_head_channels, self.groups),
            self._spade_block(widths[-1], widths[-1], self.num_levels - 1),
        )
        self._build_decoder(widths, num_res_blocks, with_attention, skips)
        self.out = nn.Sequential(
            GroupNorm(widths[0], self.groups), nn.SiLU(), zero_init(Conv2d(widths[0], out_channels, 3, padding=1))
        )

    def _build_encoder(self, widths: list[int], num_res_blocks: int, with_attention: Callable) -> list[int]:
        """Fill `input_blocks`; returns the channels of each block's output, which the decoder takes in again."""
        channels = self.model_channels
        skips = [channels]
        self.input_blocks = nn.ModuleList([BlockSequence(Conv2d(self.in_channels, channels, 3, padding=1))])
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                block = ResBlock(channels, self.emb_channels, width, self.groups)
                channels = width
                self.input_blocks.append(with_attention(block, channels, 2**level))
                skips.append(channels)
            if level + 1 < self.num_levels:
                half = ResBlock(channels, self.emb_channels, channels, self.groups, down=True)
                self.input_blocks.append(BlockSequence(half))
                skips.append(channels)
        return skips

    def _build_decoder(
        self, widths: list[int], num_res_blocks: int, with_attention: Callable, skips: list[int]
    ) -> None:
        channels = widths[-1]
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(num_res_blocks + 1):
                block = self._spade_block(channels + skips.pop(), width, level)
                channels = width
                stage = with_attention(block, channels, 2**level)
                if level > 0 and i == num_res_blocks:
                    stage.append(self._spade_block(channels, channels, level, up=True))
                self.output_blocks.append(stage)

    def _spade_block(self, in_channels: int, out_channels: int, level: int, up: bool = False) -> SPADEResBlock:
        classes, hidden = self.num_classes, self.spade_hidden
        return SPADEResBlock(in_channels, self.emb_channels, out_channels, classes, hidden, self.groups, level, up)

    def modulations(self, segmap: jt.Var, size: tuple[int, int], guided: bool = False) -> Modulations:
        """What the network needs of the mask, for latents of `size` (height, width). It serves every timestep.

        segmap: one-hot mask [B,num_classes,H,W] of any resolution, zeros for the null mask. With `guided` the network
        can be called on more than B samples. Those beyond B are under the null mask.
        Raises ValueError where `size` does not halve evenly down to the last level.
        """
        pyramid = self._pyramid(segmap, size, guided)
        return {norm: pyramid[norm] for norm in pyramid.levels}

    def modulation_elements(self, size: tuple[int, int]) -> int:
        """How many numbers `modulations` keeps for one mask and latents of `size` (height, width)."""
        height, width = size
        levels = self._norm_levels()
        return sum(2 * norm.channels * (height >> level) * (width >> level) for norm, level in levels.items())

    def _pyramid(self, segmap: jt.Var, size: tuple[int, int], guided: bool = False) -> MaskPyramid:
        height, width = size
        factor = 2 ** (self.num_levels - 1)
        if height % factor or width % factor:
            raise ValueError(f"latents of {width}x{height} do not divide by {factor}, as {self.num_levels} levels need")
        masks = [resize_nearest(segmap, (height >> level, width >> level)) for level in range(self.num_levels)]
        return MaskPyramid(masks, self._norm_levels(), guided)

    def _norm_levels(self) -> dict[SPADEGroupNorm, int]:
        """Every SPADE norm, and the level (log2 of the downsampling) of the maps that it sees."""
        stages = (self.middle_block, *self.output_blocks)
        blocks = [layer for stage in stages for layer in stage if isinstance(layer, SPADEResBlock)]
        return {norm: level for block in blocks for norm, level in block.norm_levels.items()}

    def execute(
        self,
        x: jt.Var,
        timesteps: jt.Var,
        segmap: jt.Var | None = None,
        *,
        modulations: Modulations | None = None,
    ) -> jt.Var:
        """x [B,in_channels,H,W] -> [B,out_channels,H,W].

        timesteps: 0-based training timesteps [R], R being B, or 1 for all samples alike. Give the mask as segmap
        [B,num_classes,h,w], or as the result of `modulations`. Raises ValueError for both and for neither.
        """
        if (segmap is None) == (modulations is None):
            raise ValueError("give either segmap or modulations")
        of_mask = self._pyramid(segmap, x.shape[2:]) if modulations is None else modulations
        emb = nn.silu(self.time_embed(timestep_embedding(timesteps, self.model_channels)))  # [R, 4 * model_channels]
        h, skips = x, []
        for stage in self.input_blocks:
            h = self._through(stage, of_mask, emb, h)  # [B, C, H / 2**level, W / 2**level]
            skips.append(h)
        h = self._through(self.middle_block, of_mask, emb, h)
        for stage in self.output_blocks:
            h = self._through(stage, of_mask, emb, h, skips.pop())  # [B, C, H / 2**level, W / 2**level]
        norm, _, conv = self.out
        return conv(norm(h, silu=True))  # [B, out_channels, H, W]

    def _through(
        self, stage: BlockSequence, modulations: Modulations | MaskPyramid, emb: jt.Var, *inputs: jt.Var
    ) -> jt.Var:
        if self.gradient_checkpointing and not jt.flags.no_grad:
            return recomputed(lambda *kept: stage(modulations, *kept), stage.parameters(), emb, *inputs)
        return stage(modulations, emb, *inputs)
