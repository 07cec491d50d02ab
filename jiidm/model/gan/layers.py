"""Convolutions and linear maps. Ranks that share a batch get the gradients that one process gets, to the bit.

Each sample is computed alone. Gradients are summed over the batch as the sum of two halves, each of which is summed so
too. Open MPI adds the ranks' parts in the same order.
"""

from __future__ import annotations

from functools import partial

import jittor as jt
from jittor import nn

from ldm_jittor import layers, ops

conv2d = partial(ops.conv2d, by_sample=True)


def for_each_sample(values: jt.Var, count: int) -> jt.Var:
    """[...] -> [count,...]"""
    return _ForEachSample(count)(values)


def matmul(x: jt.Var, weight: jt.Var) -> jt.Var:
    """x [B,...,N,I], weight [...,I,O] -> [B,...,N,O]"""
    return _Matmul()(x, weight)


class Conv2d(layers.Conv2d):
    def execute(self, x: jt.Var) -> jt.Var:
        return conv2d(x, self.weight, self.bias, self.stride[0], self.padding[0])


class ConvTranspose2d(nn.ConvTranspose):
    def execute(self, x: jt.Var) -> jt.Var:
        weights, bias = for_each_sample(self.weight, x.shape[0]), for_each_sample(self.bias, x.shape[0])
        given = self.stride, self.padding, self.output_padding, self.groups, self.dilation
        maps = [nn.conv_transpose(x[i : i + 1], weights[i], None, *given) for i in range(x.shape[0])]
        return jt.concat(maps) + bias.unsqueeze(-1).unsqueeze(-1)


class Linear(nn.Linear):
    """[B,I] -> [B,O]"""

    def execute(self, x: jt.Var) -> jt.Var:
        columns, weight = (values.reshape((*values.shape, 1, 1)) for values in (x, self.weight))
        return conv2d(columns, weight, self.bias).reshape((x.shape[0], -1))


class _ForEachSample(jt.Function):
    def __init__(self, count: int):
        self.count = count

    def execute(self, values: jt.Var) -> jt.Var:
        return values.unsqueeze(0).expand((self.count, *values.shape))

    def grad(self, grad_y: jt.Var) -> jt.Var:
        return _over_samples(grad_y)


class _Matmul(jt.Function):
    def execute(self, x: jt.Var, weight: jt.Var) -> jt.Var:
        self.saved = x, weight
        return jt.stack([jt.matmul(sample, weight) for sample in x])

    def grad(self, grad_y: jt.Var) -> tuple[jt.Var, jt.Var]:
        x, weight = self.saved
        grad_x = jt.stack([jt.matmul(sample, weight.transpose(-1, -2)) for sample in grad_y])
        return grad_x, _over_samples(jt.stack([jt.matmul(a.transpose(-1, -2), grad) for a, grad in zip(x, grad_y)]))


def _over_samples(values: jt.Var) -> jt.Var:
    """[B,...] -> [...], the sum in the order of `channel_sums`."""
    return ops.channel_sums(values.reshape((values.shape[0], -1, 1, 1))).reshape(values.shape[1:])
