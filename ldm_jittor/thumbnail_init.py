"""First weights of an autoencoder: its latents are the image's thumbnail, enlarged smoothly.

A small autoencoder with random weights needs thousands of steps to find that latents may be averages of colours,
because every group norm on the way takes away the level of its input. Here the residual branches start at zero. The
colours pass all layers in quadruples of channels (c, -c, K, -K). A group of quadruples has the mean zero and, since c
is small against K, the deviation K / sqrt(2). So its norm is a constant factor, and silu(c) - silu(-c) = c.
"""

from __future__ import annotations

import math

import jittor as jt
import numpy as np
from jittor import nn

from ldm_jittor.autoencoder import (
    AttnBlock,
    AutoencoderKL,
    Decoder,
    Downsample,
    Encoder,
    ResnetBlock,
    Upsample,
    VQModel,
)
from ldm_jittor.layers import zero_init

COLORS = 3
CARRIED = 16
"""Channels: a quadruple per colour, and one more, so that groups of 4, 8 and 16 channels hold whole quadruples."""
LEVEL = 4.0
"""K, for colours in [-1, 1]."""
DEVIATION = 0.02
"""Of a KL autoencoder's posterior. At 1, as random weights have it, the noise would drown the thumbnail."""
_POINT = np.array([[1.0]])
_AVERAGE = np.array([[0.25, 0.25, 0], [0.25, 0.25, 0], [0, 0, 0]])
_SMOOTH = np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])


def start_as_thumbnail(autoencoder: VQModel | AutoencoderKL) -> None:
    """Set the weights so that the latents of x [B,3,H,W] are x averaged over f x f pixels, and decode enlarges them.

    The other channels stay random. This takes 3 latent channels or more, and 16 or more elsewhere.
    Raises ValueError, before anything changes, where quadruples do not fill the groups of the last norms.
    """
    for norm in (autoencoder.encoder.norm_out, autoencoder.decoder.norm_out):
        channels = norm.num_channels // norm.num_groups
        if channels % 4:
            raise ValueError(f"its group norm has {channels} channels a group, not a multiple of 4")
    for module in autoencoder.modules():
        if isinstance(module, ResnetBlock):
            zero_init(module.conv2)
            if not module.same_channels:
                _carry(module.nin_shortcut, _POINT, level=_POINT)
        elif isinstance(module, AttnBlock):
            zero_init(module.proj_out)
        elif isinstance(module, Downsample):
            _carry(module.conv, _AVERAGE, level=_AVERAGE)
        elif isinstance(module, Upsample):
            _carry(module.conv, _SMOOTH, level=_POINT)  # smoothed, levels would fall at the borders
        elif isinstance(module, (Encoder, Decoder)):
            _spread(module.conv_in)
            _gather(module.conv_out)
    for conv in (autoencoder.quant_conv, autoencoder.post_quant_conv):
        _set(conv, COLORS, np.eye(COLORS)[:, :, None, None] * _POINT)
    if isinstance(autoencoder, AutoencoderKL):
        _narrow(autoencoder.quant_conv)


def _carry(conv: nn.Conv, kernel: np.ndarray, level: np.ndarray) -> None:
    """Every carried channel comes from itself: c and -c by `kernel`, K and -K by `level`."""
    kernels = [_placed(conv, kernel if channel % 4 < 2 else level) for channel in range(CARRIED)]
    _set(conv, CARRIED, np.eye(CARRIED)[:, :, None, None] * np.stack(kernels)[:, None])


def _spread(conv: nn.Conv) -> None:
    """Colours to quadruples."""
    signs = np.kron(np.eye(CARRIED // 4)[:, :COLORS], [[1.0], [-1.0], [0.0], [0.0]])
    _set(conv, CARRIED, signs[:, :, None, None] * _placed(conv, _POINT), np.tile([0, 0, LEVEL, -LEVEL], CARRIED // 4))


def _gather(conv: nn.Conv) -> None:
    """Quadruples, after norm and SiLU, to colours, multiplied by the deviation that the norm has divided by."""
    signs = np.kron(np.eye(COLORS, CARRIED // 4), [[1.0, -1.0, 0.0, 0.0]]) * LEVEL / math.sqrt(2)
    _set(conv, COLORS, signs[:, :, None, None] * _placed(conv, _POINT))


def _narrow(conv: nn.Conv) -> None:
    """Let the posterior, the second half of the outputs, have `DEVIATION` everywhere."""
    weight, biases = conv.weight.numpy(), conv.bias.numpy()
    half = len(biases) // 2
    weight[half:], biases[half:] = 0.0, 2 * math.log(DEVIATION)
    conv.weight.assign(jt.array(weight))
    conv.bias.assign(jt.array(biases))


def _placed(conv: nn.Conv, kernel: np.ndarray) -> np.ndarray:
    """`kernel` in the middle of one of the size of `conv`'s."""
    return np.pad(kernel, (conv.weight.shape[2] - len(kernel)) // 2)


def _set(conv: nn.Conv, rows: int, kernel: np.ndarray, bias: np.ndarray | float = 0.0) -> None:
    """Let the first `rows` outputs depend on the first inputs only, by kernel [rows,inputs,k,k] and bias."""
    weight, biases = conv.weight.numpy(), conv.bias.numpy()
    weight[:rows], biases[:rows] = 0.0, bias
    weight[:rows, : kernel.shape[1]] = kernel
    conv.weight.assign(jt.array(weight))
    conv.bias.assign(jt.array(biases))
