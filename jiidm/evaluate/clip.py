"""CLIP's image tower (Radford et al. 2021, arXiv:2103.00020): a vision transformer that turns images into embeddings.

Parameters are named as in Hugging Face's CLIPVisionModelWithProjection.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jittor as jt
import numpy as np
from jittor import nn
from PIL import Image

from ldm_jittor import checkpoint, ops
from ldm_jittor.errors import CheckpointError
from ldm_jittor.formats.wrappers import unwrapped

HEAD_WIDTH = 64
"""All of CLIP's vision transformers have heads of this width. No shape tells it."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
_PATCHES = "vision_model.embeddings.patch_embedding.weight"
_FILES = ("model.safetensors", "open_clip_model.safetensors", "open_clip_pytorch_model.bin", "pytorch_model.bin")


class Tower(NamedTuple):
    """The sizes of an image tower."""

    width: int
    layers: int
    mlp_width: int
    patch: int
    side: int
    """Pixels of the square images that it takes."""
    embedding: int


class ImageTower(nn.Module):
    """Images [B,3,side,side], normalised -> embeddings [B,embedding]."""

    def __init__(self, tower: Tower):
        self.vision_model = _VisionModel(tower)
        self.visual_projection = nn.Linear(tower.width, tower.embedding, bias=False)
        self.side = tower.side

    def execute(self, x: jt.Var) -> jt.Var:
        return self.visual_projection(self.vision_model(x))


class _VisionModel(nn.Module):
    def __init__(self, tower: Tower):
        self.embeddings = _Embeddings(tower)
        self.pre_layrnorm = nn.LayerNorm(tower.width)  # spelled so in the published files
        self.encoder = _Encoder(tower)
        self.post_layernorm = nn.LayerNorm(tower.width)

    def execute(self, x: jt.Var) -> jt.Var:
        """The class token of the last layer, normalised: [B,width]."""
        x = self.pre_layrnorm(self.embeddings(x))
        for layer in self.encoder.layers:
            x = layer(x)
        return self.post_layernorm(x[:, 0])


class _Encoder(nn.Module):
    def __init__(self, tower: Tower):
        self.layers = nn.ModuleList([Layer(tower.width, tower.mlp_width) for _ in range(tower.layers)])


class _Embeddings(nn.Module):
    """The class token and the patches, each with the embedding of its place: [B,1+patches,width]."""

    def __init__(self, tower: Tower):
        places = 1 + (tower.side // tower.patch) ** 2
        self.class_embedding = jt.zeros((tower.width,))
        self.patch_embedding = nn.Conv(3, tower.width, tower.patch, stride=tower.patch, bias=False)
        self.position_embedding = nn.Embedding(places, tower.width)

    def execute(self, x: jt.Var) -> jt.Var:
        patches = ops.conv2d(x, self.patch_embedding.weight, None, self.patch_embedding.stride[0])
        b, width = patches.shape[:2]
        tokens = patches.reshape((b, width, -1)).transpose(0, 2, 1)
        first = self.class_embedding.reshape((1, 1, width)).expand((b, 1, width))
        return jt.concat([first, tokens], dim=1) + self.position_embedding.weight.unsqueeze(0)


class Layer(nn.Module):
    """Self-attention, then a linear layer to either side of a quick GELU, each behind a norm and added to its input."""

    def __init__(self, width: int, mlp_width: int):
        self.layer_norm1 = nn.LayerNorm(width)
        self.self_attn = SelfAttention(width)
        self.layer_norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, mlp_width)

    def execute(self, x: jt.Var) -> jt.Var:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class SelfAttention(nn.Module):
    def __init__(self, width: int):
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def execute(self, x: jt.Var) -> jt.Var:
        b, tokens, width = x.shape

        def split(values: jt.Var) -> jt.Var:  # [B,T,width] -> [B*heads, HEAD_WIDTH, T]
            return values.transpose(0, 2, 1).reshape((-1, HEAD_WIDTH, tokens))

        out = ops.attention(split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x)))
        return self.out_proj(out.reshape((b, width, tokens)).transpose(0, 2, 1))


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int):
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def execute(self, x: jt.Var) -> jt.Var:
        hidden = self.fc1(x)
        return self.fc2(hidden * jt.sigmoid(1.702 * hidden))


def load(path: str | os.PathLike) -> ImageTower:
    """Read an image tower: Hugging Face's CLIP (a file or folder, whole or the tower alone), or OpenAI's names.

    The shapes tell its sizes. Raises CheckpointError for an unreadable file and for one of another network.
    """
    path = weights_in(path)
    arrays = _image_tower(checkpoint.load(path).arrays)
    tower = ImageTower(_sizes(arrays, str(path)))
    checkpoint.load_into(tower, arrays, f"{path}: not the weights of a CLIP image tower; the file")
    tower.eval()
    return tower


def weights_in(path: str | os.PathLike) -> Path:
    """The file of weights: `path`, or the one in that folder."""
    path = Path(path)
    if not path.is_dir():
        return path
    return next((path / name for name in _FILES if (path / name).is_file()), path / _FILES[0])


def _image_tower(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The image tower's arrays by Hugging Face's names."""
    theirs = unwrapped(arrays, "visual.conv1.weight")
    if "visual.conv1.weight" in theirs:
        return _from_openai({name.removeprefix("visual."): a for name, a in theirs.items() if name[:7] == "visual."})
    ours = unwrapped(arrays, _PATCHES)
    kept = {name: a for name, a in ours.items() if name.startswith(("vision_model.", "visual_projection."))}
    return {name: a for name, a in kept.items() if not name.endswith("position_ids")}


_OPENAI = (
    (r"^conv1\.", "embeddings.patch_embedding."),
    (r"^class_embedding$", "embeddings.class_embedding"),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^ln_pre\.", "pre_layrnorm."),
    (r"^ln_post\.", "post_layernorm."),
    (r"^transformer\.resblocks\.", "encoder.layers."),
    (r"\.attn\.", ".self_attn."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.c_fc\.", ".fc1."),
    (r"\.c_proj\.", ".fc2."),
)


def _from_openai(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """OpenAI keeps query, key and value in one matrix, and the projection transposed."""
    renamed: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if name == "proj":
            renamed["visual_projection.weight"] = np.ascontiguousarray(array.T)
            continue
        for pattern, replacement in _OPENAI:
            name = re.sub(pattern, replacement, name)
        if ".in_proj_" in name:
            before, kind = name.split("in_proj_")
            parts = zip("qkv", np.split(array, 3))
            renamed.update({f"vision_model.{before}{letter}_proj.{kind}": part for letter, part in parts})
        else:
            renamed[f"vision_model.{name}"] = array
    return renamed


def _sizes(arrays: Mapping[str, np.ndarray], source: str) -> Tower:
    names = (
        _PATCHES,
        "vision_model.embeddings.position_embedding.weight",
        "vision_model.encoder.layers.0.mlp.fc1.weight",
        "visual_projection.weight",
    )
    absent = [name for name in names if name not in arrays]
    if absent:
        found = f"it has {len(arrays)} tensors of one" if arrays else "it has none of its tensors"
        raise CheckpointError(f"{source}: not the weights of a CLIP image tower: no {absent[0]}; {found}")
    patches, places, mlp, projection = (arrays[name] for name in names)
    numbers = {match[1] for name in arrays if (match := re.match(r"vision_model\.encoder\.layers\.(\d+)\.", name))}
    side = patches.shape[-1] * math.isqrt(len(places) - 1)
    return Tower(len(patches), len(numbers), len(mlp), patches.shape[-1], side, len(projection))


def prepared(images: np.ndarray, side: int) -> jt.Var:
    """uint8 RGB [N,H,W,3] -> [N,3,side,side]: short side resized bicubically, middle cropped, normalised."""
    height, width = images.shape[1:3]
    short = min(height, width)
    size = side * width // short, side * height // short
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    box = left, top, left + side, top + side
    crops = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC).crop(box)) for image in images]
    x = (np.stack(crops) / np.float32(255) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return jt.array(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
