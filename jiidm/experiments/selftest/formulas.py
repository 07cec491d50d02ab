"""The core's operators as their formulas, in float64 numpy: what every device is held to."""

from __future__ import annotations

from typing import Any

import numpy as np


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """x [B,C,H,W], weight [O,C,K,K], bias [O] -> [B,O,H',W']."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    kernel: Any = dict(window_shape=weight.shape[2:], axis=(2, 3))  # numpy 1's stub knows one axis only
    windows = np.lib.stride_tricks.sliding_window_view(padded, **kernel)
    maps = np.tensordot(windows[:, :, ::stride, ::stride], weight, axes=((1, 4, 5), (1, 2, 3)))  # [B,H',W',O]
    return maps.transpose(0, 3, 1, 2) + bias[:, None, None]


def group_norm(x: np.ndarray, groups: int, eps: float = 1e-5) -> np.ndarray:
    """x [B,C,H,W], of mean 0 and variance 1 over each of the groups of channels."""
    grouped = x.reshape(len(x), groups, -1)
    normed = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + eps)
    return normed.reshape(x.shape)


def batch_norm(x: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    """x [B,C,H,W], of mean 0 and variance 1 over each channel of the batch."""
    axes = (0, 2, 3)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def modulate(x: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """x [B,C,H,W] with one plus a scale and a shift for each channel; both side by side in affine, [B,2C] or [1,2C]."""
    scale, shift = np.split(affine[:, :, None, None], 2, axis=1)
    return x * (1 + scale) + shift


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Softmax attention, q [N,C,Q], k and v [N,C,K] -> [N,C,Q]."""
    scores = np.exp(q.transpose(0, 2, 1) @ k / np.sqrt(q.shape[1]))
    return v @ (scores / scores.sum(-1, keepdims=True)).transpose(0, 2, 1)


def double(x: np.ndarray) -> np.ndarray:
    """x [B,C,H,W] -> [B,C,2H,2W], pixels repeated."""
    return x.repeat(2, axis=2).repeat(2, axis=3)


def halve(x: np.ndarray) -> np.ndarray:
    """x [B,C,H,W] -> [B,C,H/2,W/2], means of 2x2 pixels."""
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def nearest(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """x [B,C,H,W] -> [B,C,*size], pixel floor(i * H / height) at i."""
    rows, columns = (np.arange(to) * side // to for to, side in zip(size, x.shape[2:]))
    return x[:, :, rows][:, :, :, columns]


def spread(null: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The map [1,C,*size] whose corners, edges and middle are those of null [1,C,3,3]."""
    rows, columns = ([0, *[1] * (side - 2), 2] for side in size)
    return null[:, :, rows][:, :, :, columns]


def adam_update(parameter: np.ndarray, gradient: np.ndarray, rate: float, eps: float = 1e-8) -> np.ndarray:
    """The parameter after Adam's first step, whose corrected moments are the gradient and its square."""
    return parameter - rate * gradient / (np.abs(gradient) + eps)
