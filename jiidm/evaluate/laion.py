"""LAION's aesthetic predictor, another network behind A: CLIP's image tower and a head of linear layers.

The published heads, for ViT-L/14, are `sac+logos+ava1-l14-linearMSE.pth` of github.com/christophschuhmann/
improved-aesthetic-predictor and `sa_0_4_vit_l_14_linear.pth` of github.com/LAION-AI/aesthetic-predictor. They have no
activations between their layers.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np

from jiidm.data.identity import sha256
from jiidm.evaluate import clip
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError

NAME = "LAION aesthetic predictor"
BEST = 10


class Laion:
    """Tower and head, with the weights of two files."""

    name = NAME

    def __init__(self, tower: clip.ImageTower, head: list[tuple[np.ndarray, np.ndarray]], digests: tuple[str, str]):
        """head: each layer's weight [out,in] and bias [out]. digests: SHA-256 of the head's file and of the tower's."""
        self.tower, self.head = tower, head
        self.sha256 = digests[0]
        self.preprocessing: dict[str, Any] = {
            "resize_short_side": tower.side,
            "interpolation": "bicubic, antialiased",
            "center_crop": tower.side,
            "mean": list(clip.MEAN),
            "std": list(clip.STD),
            "clip_sha256": digests[1],
            "score": f"prediction / {BEST}, from 0 to 1",
        }

    def scores(self, images: np.ndarray) -> np.ndarray:
        """A of each image: uint8 RGB [N,H,W,3] -> float64 [N] in [0,1], a rating of 1 to 10 over 10."""
        return (self.ratings(images) / BEST).clip(0, 1)

    def ratings(self, images: np.ndarray) -> np.ndarray:
        """The predictor's own number for each image: float64 [N]."""
        with jt.no_grad():
            x = self.tower(clip.prepared(images, self.tower.side)).numpy().astype(np.float64)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        for weight, bias in self.head:
            x = x @ weight.T + bias
        return x[:, 0]


def load(head: str | os.PathLike, tower: str | os.PathLike) -> Laion:
    """Read a head and the image tower that it was made for.

    Raises CheckpointError for a file that is unreadable or of another network, and where the two do not fit.
    """
    image_tower = clip.load(tower)
    layers = _layers(checkpoint.load(head).arrays, str(head))
    embedding = image_tower.visual_projection.weight.shape[0]
    widths = [embedding, *(len(weight) for weight, _ in layers)]
    takes = [weight.shape[1] for weight, _ in layers]
    if takes != widths[:-1] or widths[-1] != 1:
        told = f"its layers take {takes} and give {widths[1:]}, CLIP's embeddings have {embedding}"
        raise CheckpointError(f"{head}: does not fit {Path(tower).name}: {told}")
    return Laion(image_tower, layers, (sha256(head), sha256(clip.weights_in(tower))))


def _layers(arrays: dict[str, np.ndarray], source: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The linear layers in order: `layers.<number>.weight` and `.bias`, or `weight` and `bias` alone."""
    weights = [name for name in arrays if re.fullmatch(r"(.*\.)?weight", name) and arrays[name].ndim == 2]
    weights.sort(key=lambda name: int((re.findall(r"\d+", name) or ["0"])[-1]))
    pairs = [(name, f"{name.removesuffix('weight')}bias") for name in weights]
    used = {name for pair in pairs for name in pair}
    if not pairs or used != set(arrays):
        found = checkpoint.listed(sorted(arrays)) or "none"
        raise CheckpointError(f"{source}: not the weights of a head of {NAME}; its arrays: {found}")
    return [(arrays[weight].astype(np.float64), arrays[bias].astype(np.float64)) for weight, bias in pairs]
