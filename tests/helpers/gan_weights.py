"""Weights for GANs that any program can draw from the parameters' names and shapes alone."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np


def draw(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """An array for each name. The vectors of a spectral norm nearly fit their weight, so that it is about 1 in size."""
    state = {name: _draw(name, shape) for name, shape in shapes.items()}
    for name in shapes:
        if name.endswith("weight_u"):
            stem = name.removesuffix("u")
            state[name], state[f"{stem}v"] = _singular_vectors(state[f"{stem}orig"], state[name])
    return state


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    raw = np.random.default_rng([7, zlib.crc32(name.encode())]).standard_normal(shape).astype(np.float32)
    if name.endswith("running_var"):
        return np.abs(raw) + np.float32(0.5)
    if len(shape) > 1:
        return raw / np.float32(np.sqrt(np.prod(shape[1:])))
    return raw * np.float32(0.05) + np.float32(name.endswith("weight"))


def _singular_vectors(weight: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """u and v after 20 power iterations."""
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    for _ in range(20):
        v = matrix.T @ u
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
    return u.astype(np.float32), v.astype(np.float32)
