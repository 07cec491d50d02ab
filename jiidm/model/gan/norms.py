"""Norms without scale and shift of their own, and activations: [B,C,H,W] -> [B,C,H,W]."""

from __future__ import annotations

import jittor as jt
from jittor import nn

from jiidm.system import ranks
from ldm_jittor import ops


def leaky_relu(x: jt.Var) -> jt.Var:
    """The slope that all these networks use."""
    return nn.leaky_relu(x, 0.2)


class _Tanh(jt.Function):
    def execute(self, x: jt.Var) -> jt.Var:
        self.y = jt.tanh(x)
        return self.y

    def grad(self, grad_y: jt.Var) -> jt.Var:
        return grad_y * (1 - self.y * self.y)


def tanh(x: jt.Var) -> jt.Var:
    """tanh with a gradient from its result.

    Jittor's own divides by cosh(x)^2, which is infinite from 45 on. Compiled with -Ofast the quotient is NaN.
    """
    return _Tanh()(x)


class Tanh(nn.Module):
    def execute(self, x: jt.Var) -> jt.Var:
        return tanh(x)


class BatchNorm(nn.Module):
    """Batch norm over all ranks, with running statistics as PyTorch keeps them.

    The running variance averages the unbiased one, so that published weights can be trained on and come out the same.
    Jittor's own batch norm averages the biased one, 4 % less on a map of 2x3x4.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1):
        self.eps = eps
        self.momentum = momentum
        self.running_mean = jt.zeros((channels,)).stop_grad()
        self.running_var = jt.ones((channels,)).stop_grad()

    def execute(self, x: jt.Var) -> jt.Var:
        mean, variance = self._batch_statistics(x) if self.is_training() else (self.running_mean, self.running_var)
        channels = (1, x.shape[1], 1, 1)
        return (x - mean.reshape(channels)) * (1 / jt.sqrt(variance + self.eps)).reshape(channels)

    def _batch_statistics(self, x: jt.Var) -> tuple[jt.Var, jt.Var]:
        mean = _channel_mean(x)  # [C]
        variance = _channel_mean(jt.sqr(x - mean.reshape((1, -1, 1, 1))))
        count = x.shape[0] * x.shape[2] * x.shape[3] * ranks.size()
        unbiased = variance * (count / max(count - 1, 1))
        for running, batch in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.update(running + (batch.detach() - running) * self.momentum)
        return mean, variance


def _channel_mean(x: jt.Var) -> jt.Var:
    # one axis after the other: a sum over all pixels at once loses digits in float32
    return ranks.differentiable_mean(x.mean(3).mean(2).mean(0))


class InstanceNorm(nn.Module):
    """Normalise each channel of each sample by its own mean and variance."""

    def execute(self, x: jt.Var) -> jt.Var:
        rows = (1, x.shape[1])
        return ops.group_norm(x, x.shape[1], jt.ones(rows), jt.zeros(rows))
