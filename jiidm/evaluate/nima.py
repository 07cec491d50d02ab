"""The aesthetic network behind A: NIMA (Talebi and Milanfar 2018) on VGG-16, with weights from a local file.

The weights are VGG-16's `features.*` and `classifier.1.*`, one linear layer from 7 x 7 x 512 to the ten ratings. The
files published with the PyTorch implementation github.com/yunxiaoshi/Neural-IMage-Assessment have this layout. The
preprocessing is theirs too, except that the crop is the middle one instead of a random one.
"""

from __future__ import annotations

import os
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn
from jittor.models import vgg
from PIL import Image

from jiidm.model.files import sha256
from ldm_jittor import checkpoint

NAME = "NIMA VGG-16"
SHORT_SIDE, CROP = 256, 224
RATINGS = np.arange(1, 11)


class Aesthetic:
    """The network with the weights of one file."""

    name = NAME
    preprocessing: dict[str, Any] = {
        "resize_short_side": SHORT_SIDE,
        "interpolation": "bilinear, antialiased",
        "center_crop": CROP,
        "range": [0, 1],
        "score": "mean rating / 10",
    }

    def __init__(self, network: Nima, digest: str):
        self.network = network
        self.sha256 = digest

    def scores(self, images: np.ndarray) -> np.ndarray:
        """A of each image: uint8 RGB [N,H,W,3] -> float64 [N] in [0.1,1], the mean of the ratings 1 to 10 over 10.

        The organisers' model and mapping are not public, so the division by 10 is ours. It fits a result that a team of
        the year before printed: M 0.8334, rating 5.0361, FID 37.9765, total 0.4683 = M (A + 1 - FID / 100) / 2.
        """
        x = np.stack([_crop(image) for image in images]).transpose(0, 3, 1, 2)
        with jt.no_grad():
            ratings = self.network(jt.array(np.ascontiguousarray(x)).float32() / 255).numpy()
        return ratings.astype(np.float64) @ RATINGS / 10


def load(path: str | os.PathLike) -> Aesthetic:
    """Read the weights of a VGG-16 NIMA. Raises CheckpointError for an unreadable file or another network's."""
    network = Nima()
    arrays = checkpoint.load_network(path, "features.0.weight")
    checkpoint.load_into(network, arrays, f"{path}: not the weights of {NAME}; the file")
    network.eval()
    return Aesthetic(network, sha256(path))


class Nima(nn.Module):
    """[N,3,224,224] in [0,1] -> [N,10], the shares of the ratings 1 to 10."""

    def __init__(self):
        self.features = vgg.make_layers(vgg.cfgs["D"])  # VGG-16 without its 120 million parameters of classifier
        self.classifier = nn.Sequential(nn.Dropout(0.75), nn.Linear(512 * 7 * 7, len(RATINGS)), nn.Softmax(dim=1))

    def execute(self, x: jt.Var) -> jt.Var:
        return self.classifier(self.features(x).reshape(x.shape[0], -1))


def _crop(image: np.ndarray) -> np.ndarray:
    height, width = (SHORT_SIDE * side // min(image.shape[:2]) for side in image.shape[:2])
    left, top = (width - CROP) // 2, (height - CROP) // 2
    return np.asarray(
        Image.fromarray(image)
        .resize((width, height), Image.Resampling.BILINEAR)
        .crop((left, top, left + CROP, top + CROP))
    )
