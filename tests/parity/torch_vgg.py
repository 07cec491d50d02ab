"""torchvision's VGG networks: the oracles of NIMA and of the perceptual loss."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

# torchvision, built for CUDA, does not find its operators beside a PyTorch that is not; only their names are needed
operators = torch.library.Library("torchvision", "FRAGMENT")
for operator in ("nms", "qnms"):
    operators.define(f"{operator}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
sys.path.append(str(Path(sys.prefix, "fid")))  # where setup.sh puts it beside pytorch-fid

from torchvision.models import vgg  # noqa: E402

LAYOUTS = {"vgg16": "D", "vgg19": "E"}
TAKEN = (1, 6, 11, 20, 29)
"""Positions of VGG-19's relu1_1 to relu5_1 (Simonyan and Zisserman 2015)."""


def vgg_features(name: str) -> torch.nn.Sequential:
    """What torchvision calls the features of "vgg16" or "vgg19"."""
    return vgg.make_layers(vgg.cfgs[LAYOUTS[name]])


def perceptual_loss(network: torch.nn.Sequential, fake: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """GauGAN's, of images in [-1, 1]."""
    loss = 0
    for number, layer in enumerate(network):
        fake, real = layer(fake), layer(real)
        if number in TAKEN:
            weight = 2.0 ** (TAKEN.index(number) - 5) if number < TAKEN[-1] else 1
            loss = loss + weight * (fake - real.detach()).abs().mean()
    return loss
