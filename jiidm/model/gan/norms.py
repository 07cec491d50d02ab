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
        if not self.is_training():
            return (x - _by_channel(self.running_mean)) * _by_channel(1 / jt.sqrt(self.running_var + self.eps))
        y, mean, variance = _BatchNorm(self.eps)(x)
        count = x.shape[0] * x.shape[2] * x.shape[3] * ranks.size()
        unbiased = variance * (count / max(count - 1, 1))
        for running, batch in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.update(running + (batch.detach() - running) * self.momentum)
        return y


class _BatchNorm(jt.Function):
    """x [B,C,H,W] -> y, and the batch's mean and biased variance [C], which have no gradient.

    Every sum over the batch goes over all ranks before anything is made of it, in an order that ranks share with one
    process. So they get what it gets, to the bit.
    """

    def __init__(self, eps: float):
        self.eps = eps

    def execute(self, x: jt.Var) -> tuple[jt.Var, jt.Var, jt.Var]:
        mean = _channel_mean(x)
        centred = x - _by_channel(mean)
        variance = _channel_mean(jt.sqr(centred))
        self.scale = _by_channel(1 / jt.sqrt(variance + self.eps))
        self.y = centred * self.scale
        return self.y, mean, variance

    def grad(self, grad_y: jt.Var, *unused: jt.Var | None) -> jt.Var:
        mean, slope = (_by_channel(_channel_mean(values)) for values in (grad_y, grad_y * self.y))
        return self.scale * (grad_y - mean - self.y * slope)


def _channel_mean(x: jt.Var) -> jt.Var:
    """[B,C,H,W] -> [C], over all ranks."""
    samples, _, height, width = x.shape
    # pixels last: where ranks hold 2, 4, ... samples, what comes before they add rounds nothing
    return ranks.lazy_mean(ops.channel_sums(x) * (1 / samples)) * (1 / (height * width))


def _by_channel(values: jt.Var) -> jt.Var:
    return values.reshape((1, -1, 1, 1))


class InstanceNorm(nn.Module):
    """Normalise each channel of each sample by its own mean and variance."""

    def execute(self, x: jt.Var) -> jt.Var:
        channels = x.shape[1]
        return ops.group_norm(x, channels, jt.ones(channels), jt.zeros(channels))
