"""Every operator against its formula in float64, gradients included."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.classes import NUM_CLASSES
from jiidm.experiments.selftest import formulas
from jiidm.experiments.selftest.checks import EXACT, PRODUCTS, Row, difference, milliseconds, unit, weights
from jiidm.model.gan.norms import BatchNorm, InstanceNorm
from jiidm.model.gan.spectral_norm import SpectralConv2d
from jiidm.seeding import normal
from jiidm.train.optimizer import Optimizer
from ldm_jittor import layers, ops

RATE = 1e-3


class Operator(NamedTuple):
    """A function of arrays [shape] that are standard normal, in Jittor and as a formula."""

    name: str
    kind: str
    ours: Callable[..., jt.Var]
    formula: Callable[..., np.ndarray]
    shapes: Sequence[tuple[int, ...]]
    has_gradient: bool = True


def operators() -> list[Operator]:
    """Every operator of `ldm_jittor.ops`, what `layers` makes of them, and those of the GANs."""
    norm, affine, spectral = (2, 64, 24, 32), (2, 128), (64, 32, 3, 3)
    spade = layers.SPADEGroupNorm(64, NUM_CLASSES, 32, layers.Groups(16))
    for name, parameter in spade.named_parameters():
        parameter.assign(jt.array(weights(name, tuple(parameter.shape))))
    tokens = (4, 64, 600)

    def convolution(name: str, kernel: int, stride: int, padding: int, shape: tuple[int, ...], out: int) -> Operator:
        def ours(x, weight, bias):
            return ops.conv2d(x, weight, bias, stride, padding)

        def formula(x, weight, bias):
            return formulas.convolve(x, weight, bias, stride, padding)

        return Operator(name, PRODUCTS, ours, formula, [shape, (out, shape[1], kernel, kernel), (out,)])

    def normed(x, gamma, beta, affine, *null):
        return ops.group_norm(x, 16, gamma, beta, affine, null or None, silu=True)

    def normed_formula(x, gamma, beta, affine):
        if gamma.ndim == 1:
            gamma, beta = gamma[:, None, None], beta[:, None, None]
        return formulas.silu(formulas.modulate(formulas.group_norm(x, 16) * gamma + beta, affine))

    def with_null_mask(x, gamma, beta, affine, null_gamma, null_beta):
        nulls = [formulas.spread(null, norm[2:]) for null in (null_gamma, null_beta)]
        gamma, beta = (np.concatenate(maps) for maps in zip((gamma, beta), nulls))
        return normed_formula(x, gamma, beta, affine)

    return [
        convolution("convolution 3x3", 3, 1, 1, (1, 64, 48, 64), 64),
        convolution("convolution 3x3, stride 2", 3, 2, 1, (2, 32, 24, 32), 48),
        convolution("convolution 4x4, stride 2", 4, 2, 2, (2, 32, 24, 32), 48),
        convolution("convolution 1x1", 1, 1, 0, (2, 64, 24, 32), 96),
        Operator("group norm", EXACT, normed, normed_formula, [norm, (64,), (64,), affine]),
        Operator("group norm, one row", EXACT, normed, normed_formula, [norm, (64,), (64,), (1, 128)]),
        Operator("group norm, modulated", EXACT, normed, normed_formula, [norm, norm, norm, affine]),
        Operator(
            "group norm, null mask",
            EXACT,
            normed,
            with_null_mask,
            [norm, (1, *norm[1:]), (1, *norm[1:]), (1, 128), (1, 64, 3, 3), (1, 64, 3, 3)],
            has_gradient=False,
        ),
        Operator(
            "SPADE norm",
            PRODUCTS,
            lambda x, segmap: spade(x, spade.modulation(segmap), silu=True),
            lambda x, segmap: _spade_formula(spade, x, segmap),
            [norm, (2, NUM_CLASSES, 24, 32)],
        ),
        Operator("attention", PRODUCTS, ops.attention, formulas.attend, [tokens] * 3),
        Operator(
            "self-attention",
            PRODUCTS,
            ops.self_attention,
            lambda qkv: formulas.attend(qkv[:, 0], qkv[:, 1], qkv[:, 2]),
            [(tokens[0], 3, *tokens[1:])],
        ),
        Operator("upsampling", EXACT, ops.upsample_nearest, formulas.double, [norm]),
        Operator("halving", EXACT, layers.downsample_average, formulas.halve, [norm]),
        Operator(
            "resizing",
            EXACT,
            lambda x: layers.resize_nearest(x, (17, 40)),
            lambda x: formulas.nearest(x, (17, 40)),
            [norm],
        ),
        Operator("batch norm", EXACT, lambda x: BatchNorm(64)(x), formulas.batch_norm, [norm]),
        Operator("instance norm", EXACT, InstanceNorm(), lambda x: formulas.group_norm(x, 64), [norm]),
        Operator("spectral norm", PRODUCTS, *_spectral(spectral), [spectral]),
    ]


def _spade_formula(spade: layers.SPADEGroupNorm, x: np.ndarray, segmap: np.ndarray) -> np.ndarray:
    def convolved(y: np.ndarray, conv: layers.Conv2d) -> np.ndarray:
        weight, bias = (parameter.numpy().astype(np.float64) for parameter in (conv.weight, conv.bias))
        return formulas.convolve(y, weight, bias, padding=1)

    hidden = np.maximum(convolved(segmap, spade.mlp_shared[0]), 0)
    scale, shift = convolved(hidden, spade.mlp_gamma), convolved(hidden, spade.mlp_beta)
    return formulas.silu(formulas.group_norm(x, spade.num_groups) * (1 + scale) + shift)


def _spectral(shape: tuple[int, ...]) -> tuple[Callable[[jt.Var], jt.Var], Callable[[np.ndarray], np.ndarray]]:
    """The normalised weight for given singular vectors."""
    conv = SpectralConv2d(shape[1], shape[0], shape[2])
    conv.eval()
    u, v = (unit(side, size) for side, size in (("u", shape[0]), ("v", math.prod(shape[1:]))))
    conv.weight_u.assign(jt.array(u))
    conv.weight_v.assign(jt.array(v))

    def ours(weight: jt.Var) -> jt.Var:
        conv.weight_orig = weight
        return conv.weight()

    return ours, lambda weight: weight / (u.astype(np.float64) @ weight.reshape(len(u), -1) @ v)


def check_operator(operator: Operator) -> Row:
    """The larger of the differences of the result and of the gradients."""
    inputs = [normal(shape, "selftest", number) for number, shape in enumerate(operator.shapes)]
    exact = [values.astype(np.float64) for values in inputs]
    variables = [jt.array(values) for values in inputs]
    expected = operator.formula(*exact)
    differences = [difference(operator.ours(*variables).numpy(), expected)]
    if operator.has_gradient:
        direction = normal(expected.shape, "selftest", "direction")
        gradients = jt.grad((operator.ours(*variables) * jt.array(direction)).sum(), variables)
        differences += [
            _slope_difference(operator.formula, exact, i, gradient.numpy(), direction)
            for i, gradient in enumerate(gradients)
        ]
    time = milliseconds(lambda: [operator.ours(*variables)])
    return Row(operator.name, operator.kind, max(differences), time)


def _slope_difference(
    formula: Callable[..., np.ndarray], inputs: list[np.ndarray], i: int, gradient: np.ndarray, direction: np.ndarray
) -> float:
    """How far a gradient's slope along a random step is from the formula's, relative to the slope's usual size.

    That is the gradient's length, since the step is standard normal.
    """
    step = normal(inputs[i].shape, "selftest", "step", i).astype(np.float64)
    ahead, behind = (formula(*inputs[:i], inputs[i] + sign * 1e-6 * step, *inputs[i + 1 :]) for sign in (1, -1))
    expected = ((ahead - behind) * direction).sum() / 2e-6
    length = float(np.linalg.norm(gradient))
    found = abs(float((gradient * step).sum()) - expected)
    return found / length if length > 0 and math.isfinite(found) else math.inf


def check_optimizer() -> Row:
    """AdamW's first step on a linear layer, whose gradient is known."""
    layer, x = nn.Linear(64, 64, bias=False), normal((64, 64), "selftest", "x")
    weight, direction = weights("weight", (64, 64)), normal((64, 64), "selftest", "direction")
    layer.weight.assign(jt.array(weight))
    optimizer = Optimizer(layer, lambda step: RATE)

    def call() -> list[jt.Var]:
        optimizer.backward((layer(jt.array(x)) * jt.array(direction)).sum())
        optimizer.step(0)
        return [layer.weight]

    found = call()[0].numpy()
    gradient = direction.T.astype(np.float64) @ x
    step, expected = found - weight.astype(np.float64), formulas.adam_update(weight, gradient, RATE) - weight
    return Row("AdamW step", EXACT, difference(step, expected), milliseconds(call))
