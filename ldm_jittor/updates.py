"""Weights, moments and averages after a training step: elementwise, and as fast as memory is.

One thread reaches half of a memory's speed or less, and Jittor's own elementwise operators take one on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jittor as jt


def adamw(
    gradient: jt.Var,
    parameter: jt.Var,
    first: jt.Var,
    second: jt.Var,
    *,
    updates: int,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> list[jt.Var]:
    """The parameter and its two moments, of any one shape, after AdamW's update number `updates`, counted from 1.

    Source: Loshchilov & Hutter 2019 (arXiv:1711.05101), algorithm 2, with its decay times the learning rate.
    """
    constants = {
        "keep": 1 - learning_rate * weight_decay,
        "rate": learning_rate / (1 - betas[0] ** updates),
        "correction": 1 / math.sqrt(1 - betas[1] ** updates),
        "beta1": betas[0],
        "beta2": betas[1],
        "eps": eps,
    }
    if jt.flags.use_cuda:
        return _adamw_plain(gradient, parameter, first, second, **constants)
    source = """
        float keep = data["keep"], rate = data["rate"], correction = data["correction"], eps = data["eps"];
        float beta1 = data["beta1"], rest1 = 1 - data["beta1"], beta2 = data["beta2"], rest2 = 1 - data["beta2"];
        #pragma omp parallel for simd
        for (int64_t i = 0; i < in0->num; i++) {
            float gradient = in0_p[i], first = beta1 * in2_p[i] + rest1 * gradient;
            float second = beta2 * in3_p[i] + rest2 * gradient * gradient;
            out0_p[i] = keep * in1_p[i] - rate * first / (std::sqrt(second) * correction + eps);
            out1_p[i] = first;
            out2_p[i] = second;
        }"""
    return _elementwise(source, [gradient, parameter, first, second], 3, constants)


def _adamw_plain(
    gradient: jt.Var,
    parameter: jt.Var,
    first: jt.Var,
    second: jt.Var,
    *,
    keep: float,
    rate: float,
    correction: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> list[jt.Var]:
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient * gradient
    return [keep * parameter - rate * first / (jt.sqrt(second) * correction + eps), first, second]


def moving_average(average: jt.Var, value: jt.Var, decay: float) -> jt.Var:
    """decay * average + (1 - decay) * value, of any one shape."""
    if jt.flags.use_cuda:
        return decay * average + (1 - decay) * value
    source = """
        float keep = data["decay"], rest = 1 - data["decay"];
        #pragma omp parallel for simd
        for (int64_t i = 0; i < in0->num; i++) out0_p[i] = keep * in0_p[i] + rest * in1_p[i];"""
    return _elementwise(source, [average, value], 1, {"decay": decay})[0]


def _elementwise(source: str, arrays: Sequence[jt.Var], count: int, data: Mapping[str, float]) -> list[jt.Var]:
    """`count` arrays of the shape of the given ones."""
    shapes, kinds = [arrays[0].shape] * count, ["float32"] * count
    return jt.code(shapes, kinds, list(arrays), cpu_header="#include <cmath>", cpu_src=source, data=dict(data))
