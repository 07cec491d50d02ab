"""Convolution whose weight is divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957)."""

from __future__ import annotations

import math

import jittor as jt
from jittor import nn

from jiidm.model.gan.layers import conv2d
from jiidm.system import ranks

EPS = 1e-12


class SpectralConv2d(nn.Module):
    """Convolution [B,C,H,W] -> [B,O,H',W'] with weight_orig / sigma, sigma = u W v and W = weight_orig as [O, C*K*K].

    Each forward in training mode first improves u and v by one power iteration, none in evaluation mode. u and v have
    no gradient; that of the weight goes through sigma too. The names and the rule are those of PyTorch.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ):
        self.stride = stride
        self.padding = padding
        shape = (out_channels, in_channels, kernel_size, kernel_size)
        fan_in = math.prod(shape[1:])
        self.weight_orig = jt.init.uniform(shape, "float32", -(fan_in**-0.5), fan_in**-0.5)
        self.bias = jt.zeros((out_channels,)) if bias else None
        self.weight_u = _unit(jt.randn((out_channels,))).stop_grad()
        self.weight_v = _unit(jt.randn((fan_in,))).stop_grad()
        self.is_folded = False

    def execute(self, x: jt.Var) -> jt.Var:
        return conv2d(x, self.weight(), self.bias, self.stride, self.padding)

    def weight(self) -> jt.Var:
        """The normalised weight [O,C,K,K]."""
        if self.is_folded:
            return self.weight_orig
        matrix = self.weight_orig.reshape((self.weight_orig.shape[0], -1))
        if self.is_training():
            self.weight_v.update(_unit(jt.matmul(self.weight_u.unsqueeze(0), matrix).squeeze(0)))
            self.weight_u.update(_unit(jt.matmul(matrix, self.weight_v.unsqueeze(1)).squeeze(1)))
        sigma = (jt.matmul(self.weight_u.unsqueeze(0), matrix).squeeze(0) * self.weight_v).sum()
        weight = self.weight_orig / sigma
        return _AveragedGradient()(weight) if ranks.size() > 1 else weight


class _AveragedGradient(jt.Function):
    """Ranks average what they have of the gradient before it goes on through sigma, as one process sums its batch."""

    def execute(self, weight: jt.Var) -> jt.Var:
        return weight.clone()

    def grad(self, grad_weight: jt.Var) -> jt.Var:
        return ranks.lazy_mean(grad_weight)


def fold_spectral_norms(network: nn.Module) -> None:
    """Divide the weights now, and not in every forward, in a network that is neither trained nor saved any more."""
    for _, module in network.named_modules():
        if isinstance(module, SpectralConv2d):
            module.eval()
            module.weight_orig.assign(module.weight().detach())
            module.is_folded = True


def _unit(vector: jt.Var) -> jt.Var:
    return vector / jt.maximum(jt.sqrt(jt.sqr(vector).sum()), EPS)
