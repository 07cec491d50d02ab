"""The network whose features FID compares: TensorFlow's Inception-v3 of 2015, weights from a local file."""

from __future__ import annotations

import os
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn
from jittor.models import inception as standard
from PIL import Image

from jiidm.model.files import sha256
from ldm_jittor import checkpoint

NAME = "FID Inception-v3"
SIZE = 299
NUM_FEATURES = 2048
PREPROCESSING: dict[str, dict[str, Any]] = {
    "pytorch-fid": {"resize": [SIZE, SIZE], "interpolation": "bilinear", "range": [-1, 1]},
    "clean": {"resize": [SIZE, SIZE], "interpolation": "bicubic, antialiased, on floats", "range": [-1, 127 / 128]},
}
"""The ways to the network's size; a distance depends on it. The first is what published FIDs mostly used."""
NUM_CLASSES = 1008
"""The released network's. A file with ImageNet's usual 1000 holds another Inception-v3."""


class Inception:
    """The network with the weights of one file. `preprocessing` is one of PREPROCESSING."""

    name = NAME

    def __init__(self, network: FidInception, digest: str, resize: str = "pytorch-fid"):
        self.network = network
        self.sha256 = digest
        self.preprocessing = PREPROCESSING[resize]
        self._input = {"pytorch-fid": _stretched, "clean": _clean}[resize]

    def features(self, images: np.ndarray) -> np.ndarray:
        """uint8 RGB [N,H,W,3] -> float32 [N,2048]: the activations after the last average pooling."""
        with jt.no_grad():
            return self.network(self._input(images)).numpy()


def _stretched(images: np.ndarray) -> jt.Var:
    """pytorch-fid's input: bilinear without antialiasing, from 0-255 to [-1, 1]."""
    x = jt.array(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float32() / 255
    return nn.resize(x, (SIZE, SIZE), mode="bilinear") * 2 - 1


def _clean(images: np.ndarray) -> jt.Var:
    """clean-fid's input (Parmar et al. 2022, arXiv:2104.11222): Pillow's bicubic on floats, then (x - 128) / 128."""
    resized = [[clean_resize(image[..., channel]) for channel in range(3)] for image in images]
    return jt.array((np.array(resized, np.float32) - 128) / 128)


def clean_resize(channel: np.ndarray) -> np.ndarray:
    """One channel [H,W] of 0 to 255 -> float32 [299,299] of the same range, antialiased and not rounded."""
    resized = Image.fromarray(channel.astype(np.float32)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(resized).clip(0, 255)


def load(path: str | os.PathLike, resize: str = "pytorch-fid") -> Inception:
    """Read the weights of FID's network: pytorch-fid's `pt_inception-2015-12-05-6726825d.pth`, or a file of its layout.

    Raises CheckpointError for a file that cannot be read and for one of another network. torchvision's Inception-v3 is
    such a one: a distance by its features is no FID. resize: a key of PREPROCESSING.
    """
    arrays = checkpoint.load_network(path, "Mixed_7c.branch_pool.conv.weight")
    arrays = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    network = FidInception()
    checkpoint.load_into(network, arrays, f"{path}: not the weights of the {NAME}; the file")
    network.eval()
    return Inception(network, sha256(path), resize)


class _AverageWithoutPadding(nn.Module):
    """A block whose average pooling leaves the padding out of the mean, as TensorFlow's does."""

    def _forward(self, x: jt.Var) -> list[jt.Var]:
        *others, _ = super()._forward(x)  # the replaced branch is never computed: Jittor evaluates what is used
        # only with ceil_mode does Jittor 1.3.11 look at count_include_pad; at stride 1 it changes nothing else
        pool = nn.AvgPool2d(3, stride=1, padding=1, ceil_mode=True, count_include_pad=False)
        return [*others, self.branch_pool(pool(x))]


class _BlockA(_AverageWithoutPadding, standard.InceptionA):
    pass


class _BlockC(_AverageWithoutPadding, standard.InceptionC):
    pass


class _BlockE(_AverageWithoutPadding, standard.InceptionE):
    pass


class _LastBlockE(standard.InceptionE):
    """The released network's last block pools by maximum, where Inception-v3 averages."""

    def _forward(self, x: jt.Var) -> list[jt.Var]:
        *others, _ = super()._forward(x)
        return [*others, self.branch_pool(nn.pool(x, 3, "maximum", padding=1, stride=1))]


class FidInception(standard.Inception3):
    """[N,3,299,299] in [-1,1] -> [N,2048]. Parameter names as in torchvision's and pytorch-fid's files."""

    def __init__(self):
        blocks = [standard.BasicConv2d, _BlockA, standard.InceptionB, _BlockC, standard.InceptionD, _BlockE, None]
        super().__init__(num_classes=NUM_CLASSES, aux_logits=False, inception_blocks=blocks)
        self.Mixed_7c = _LastBlockE(NUM_FEATURES)

    def execute(self, x: jt.Var) -> jt.Var:
        first = (self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3, _shrink)  # [N,64,73,73]
        second = (self.Conv2d_3b_1x1, self.Conv2d_4a_3x3, _shrink)  # [N,192,35,35]
        fives = (self.Mixed_5b, self.Mixed_5c, self.Mixed_5d)  # [N,288,35,35]
        sixes = (self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e)  # [N,768,17,17]
        sevens = (self.Mixed_7a, self.Mixed_7b, self.Mixed_7c)  # [N,2048,8,8]
        for layer in (*first, *second, *fives, *sixes, *sevens):
            x = layer(x)
        return x.mean(dims=[2, 3])


def _shrink(x: jt.Var) -> jt.Var:
    return nn.pool(x, 3, "maximum", stride=2)
