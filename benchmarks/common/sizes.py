"""The networks and inputs that both sides of a benchmark use; without Jittor or PyTorch, so that both can import it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jiidm.size import Size

NUM_CLASSES = 29
GUIDANCE_SCALE = 3.5
TIMESTEP = 600

# released: the layout of the released checkpoint, here at other widths
_RELEASED = {"num_res_blocks": 2, "attention_downsamples": [4, 8, 16], "channel_mult": [1, 1, 2, 3, 4]}
_DEMO = {"num_res_blocks": 1, "attention_downsamples": [4], "channel_mult": [1, 2, 4]}
_SMALL_GROUPS = {"norm_min_channels": 4}  # as configs/demo.yaml has it
_UNETS = {
    "demo": {**_DEMO, "model_channels": 32, "num_head_channels": 32, "spade_hidden": 32, **_SMALL_GROUPS},
    "mid": {**_RELEASED, "model_channels": 64, "num_head_channels": 64, "spade_hidden": 128, **_SMALL_GROUPS},
    "full": {**_RELEASED, "model_channels": 256, "num_head_channels": 64, "spade_hidden": 128},
}
SIZES = tuple(_UNETS)
LATENT_SIZES = {"demo": (48, 64), "mid": (48, 64), "full": (96, 128)}
"""Latents' (height, width); images are four times as large."""
AUTOENCODERS = {
    "demo": {"ch": 32, "ch_mult": [1, 2, 2], "num_res_blocks": 1, "n_embed": 4096, **_SMALL_GROUPS},
    "mid": {"ch": 64, "ch_mult": [1, 2, 4], "num_res_blocks": 2, "n_embed": 8192, **_SMALL_GROUPS},
    "full": {"ch": 128, "ch_mult": [1, 2, 4], "num_res_blocks": 2, "n_embed": 8192},
}
CODEBOOK = "quantize.embedding.weight"
LEARNING_RATE = 1e-4
GRADIENTS = ("input_blocks.0.0.weight", "time_embed.0.weight", "middle_block.0.in_norm.mlp_shared.0.weight")
"""Parameters at the far end of the backward pass. A training step answers with their gradients."""


def unet_arguments(size: str) -> dict:
    return {"in_channels": 3, "out_channels": 6, "num_classes": NUM_CLASSES, **_UNETS[size]}


def latents(size: str, batch: int, seed: int = 1) -> np.ndarray:
    """Standard normal [B,3,h,w]."""
    return np.random.default_rng(seed).standard_normal((batch, 3, *LATENT_SIZES[size]), dtype=np.float32)


def timesteps(batch: int) -> np.ndarray:
    """The timesteps of a training step's samples, int [B]."""
    return np.random.default_rng(2).integers(0, 1000, batch)


def segmaps(size: str, batch: int) -> np.ndarray:
    """One-hot masks [B,29,h,w] of horizontal bands."""
    height, width = LATENT_SIZES[size]
    rows = np.arange(height) * 7 // height
    mask = (rows[None, :] + 3 * np.arange(batch)[:, None]) % NUM_CLASSES  # [B, h]
    bands = np.eye(NUM_CLASSES, dtype=np.float32)[mask]  # [B, h, 29]
    return np.repeat(bands.transpose(0, 2, 1)[..., None], width, axis=3)


def images(size: str, batch: int) -> np.ndarray:
    """Uniform noise [B,3,4h,4w] in [-1,1]."""
    height, width = LATENT_SIZES[size]
    return np.random.default_rng(3).uniform(-1, 1, (batch, 3, 4 * height, 4 * width)).astype(np.float32)


def codes(size: str, batch: int, codebook: np.ndarray) -> np.ndarray:
    """Latents [B,3,h,w] that are codes, so that float noise cannot turn them into others."""
    chosen = np.random.default_rng(4).integers(0, len(codebook), (batch, *LATENT_SIZES[size]))
    return np.ascontiguousarray(codebook[chosen].transpose(0, 3, 1, 2))


class Scene(NamedTuple):
    """What `jiidm.pipeline.Input` holds, without Jittor."""

    name: str
    mask: np.ndarray
    reference: np.ndarray


def scenes(count: int, size: Size, seed: int = 0) -> list[Scene]:
    """Generated landscapes of `size` as inputs of the pipeline; each mask has the next one's photo."""
    from jiidm.data.synthetic.dataset import landscape

    pairs = [landscape(number, size, seed=seed) for number in range(count + 1)]
    return [Scene(f"scene{i}", pairs[i][1], pairs[i + 1][0]) for i in range(count)]


def inference(name: str, profile: str):
    """A config's InferenceConfig; profile "fast" has fewer steps."""
    from jiidm.config import load as configs

    config = configs.load_config(name)
    return (configs.fast(config) if profile == "fast" else config).inference


def random_weights(shapes: Iterable[tuple[str, tuple[int, ...]]], seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Weights by name, each from its own draw; zero-initialised ones too, so that no branch is idle."""
    for number, (name, shape) in enumerate(sorted(shapes)):
        values = np.random.default_rng((seed, number)).standard_normal(shape, dtype=np.float32)
        if len(shape) == 1:  # of a norm, or a bias
            yield name, values * np.float32(0.1) + np.float32(name.endswith("weight"))
        else:
            yield name, values / np.sqrt(np.float32(np.prod(shape[1:])))
