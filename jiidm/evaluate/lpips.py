"""How unlike are images to people? LPIPS (Zhang et al. 2018, arXiv:1801.03924) by VGG-16 tells their diversity."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.data.identity import sha256
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError
from ldm_jittor.formats.wrappers import without_modules
from ldm_jittor.layers import Conv2d

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Width and number of VGG-16's convolutions between two poolings."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""What LPIPS takes off images in [-1, 1], and divides them by."""
EPS = 1e-10


class LPIPS(nn.Module):
    """Images [B,3,H,W] in [-1, 1] -> features; `distance` weighs the squares of their differences.

    Parameters are named as torchvision names VGG-16's, and the weights as in LPIPS' own file.
    """

    def __init__(self):
        layers: list[nn.Module] = []
        self.taken: list[int] = []
        channels = 3
        for width, count in STAGES:
            layers += [nn.Pool(2, stride=2)] if layers else []
            for _ in range(count):
                layers += [Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            self.taken.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        for number, (width, _) in enumerate(STAGES):
            setattr(self, f"lin{number}", _Weights(width))

    def execute(self, x: jt.Var) -> list[jt.Var]:
        """The outputs of the five stages, each place's channels of length 1: [B,C,H/f,W/f], f = 1, 2, 4, 8, 16."""
        x = (x - jt.array(SHIFT).reshape((1, 3, 1, 1))) / jt.array(SCALE).reshape((1, 3, 1, 1))
        found = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self.taken:
                found.append(x / (jt.sqrt(jt.sqr(x).sum(1, keepdims=True)) + EPS))
        return found

    def distance(self, ours: Sequence[jt.Var], theirs: Sequence[jt.Var]) -> jt.Var:
        """LPIPS of what two calls gave: [B]."""
        stages = enumerate(zip(ours, theirs))
        return sum((jt.sqr(a - b) * getattr(self, f"lin{n}").weight).sum(1).mean(2).mean(1) for n, (a, b) in stages)


class _Weights(nn.Module):
    def __init__(self, channels: int):
        self.weight = jt.ones((1, channels, 1, 1))


class Perceptual:
    """LPIPS with the weights of its files."""

    name = "LPIPS, VGG-16"
    preprocessing: dict[str, Any] = {"resize": None, "range": [-1, 1]}

    def __init__(self, network: LPIPS, digest: str):
        self.network, self.sha256 = network, digest

    def chain(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """LPIPS of each image, uint8 RGB [H,W,3] of one size, to the one before it: float64, one fewer than images."""
        found, before = [], None
        with jt.no_grad():
            for image in images:
                x = jt.array(np.ascontiguousarray(image.transpose(2, 0, 1)[None])).float32() / 127.5 - 1
                features = self.network(x)
                jt.sync(features)
                if before is not None:
                    found.append(self.network.distance(features, before).item())
                before = features
        return np.array(found)


def load(paths: Sequence[str | os.PathLike]) -> Perceptual:
    """Read LPIPS: the state of `lpips.LPIPS(net="vgg")` in one file, or its `vgg.pth` and torchvision's VGG-16.

    Raises CheckpointError for an unreadable file, and for files that are not these together.
    """
    arrays: dict[str, np.ndarray] = {}
    for path in paths:
        arrays |= _renamed(checkpoint.load(path).arrays)
    network = LPIPS()
    told = " and ".join(str(path) for path in paths)
    checkpoint.load_into(network, arrays, f"{told}: not the weights of LPIPS with VGG-16; what is given")
    if any((arrays[f"lin{number}.weight"] < 0).any() for number in range(len(STAGES))):
        raise CheckpointError(f"{told}: LPIPS' own weights are not negative, and some of these are")
    network.eval()
    return Perceptual(network, ",".join(sha256(path) for path in paths))


def _renamed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The names of `LPIPS`, without VGG's classifier and the constants."""
    renamed: dict[str, np.ndarray] = {}
    for name, stored in without_modules(arrays).items():
        name = re.sub(r"^net\.slice\d\.", "features.", name)
        name = re.sub(r"^(lin\d)\.model\.1\.", r"\1.", name)
        if not name.startswith(("classifier.", "scaling_layer.", "lins.")):
            renamed[name] = arrays[stored]
    return renamed
