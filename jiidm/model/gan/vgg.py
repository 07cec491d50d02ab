"""VGG-19's features (Simonyan and Zisserman 2015), under torchvision's names, for the published perceptual loss."""

from __future__ import annotations

import os

import jittor as jt
from jittor import nn

from ldm_jittor import checkpoint
from ldm_jittor.layers import Conv2d

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Width and number of the convolutions between two poolings."""


class VGG19(nn.Module):
    """Image [B,3,H,W] -> relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1: [B,C,H/f,W/f] for f = 1, 2, 4, 8, 16."""

    def __init__(self):
        layers: list[nn.Module] = []
        self.taken: list[int] = []
        channels = 3
        for width, count in STAGES:
            self.taken.append(len(layers) + 1)
            for _ in range(count):
                layers += [Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.Pool(2, stride=2))
        self.features = nn.Sequential(*layers)

    def execute(self, x: jt.Var) -> list[jt.Var]:
        found = []
        # what comes after relu5_1 is only there so that a whole file fits
        for number, layer in enumerate(self.features[: self.taken[-1] + 1]):
            x = layer(x)
            if number in self.taken:
                found.append(x)
        return found


def load_vgg19(path: str | os.PathLike) -> VGG19:
    """Read torchvision's file vgg19-dcbb9e9d.pth, or one of its names and shapes; the classifier is left out.

    Raises CheckpointError for an unreadable file and for another network's.
    """
    network = VGG19()
    arrays = checkpoint.load_network(path, "features.0.weight")
    features = {name: array for name, array in arrays.items() if not name.startswith("classifier.")}
    checkpoint.load_into(network, features, f"{path}: not the weights of torchvision's VGG-19; the file")
    network.eval()
    return network
