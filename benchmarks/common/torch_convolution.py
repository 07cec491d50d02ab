"""A convolution in PyTorch, and its gradients."""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch.nn.functional import conv2d

from benchmarks.common import convolutions
from benchmarks.common.duel import Work


def convolution(arguments: argparse.Namespace) -> Work:
    arrays = convolutions.arrays(convolutions.CASES[arguments.case])
    x, weight, bias, grad_y = (torch.from_numpy(values).to(arguments.device) for values in arrays.values())

    @torch.inference_mode()
    def forward() -> dict[str, np.ndarray]:
        return {"y": conv2d(x, weight, bias, padding=1).cpu().numpy()}

    def training() -> dict[str, np.ndarray]:
        leaves = [values.detach().requires_grad_() for values in (x, weight, bias)]
        gradients = torch.autograd.grad(conv2d(*leaves, padding=1), leaves, grad_y)
        return {name: values.cpu().numpy() for name, values in zip(arrays, gradients)}

    return training if arguments.gradients else forward
