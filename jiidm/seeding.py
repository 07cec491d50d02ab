"""Random numbers from counters, not from process history: the same draw for any batch size or restart."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*key: int | str) -> np.random.Generator:
    """The generator that belongs to `key`, for example (seed, file name, round). Equal keys give equal draws."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def normal(shape: tuple[int, ...], *key: int | str) -> np.ndarray:
    """Standard normal float32 array that belongs to `key`."""
    return generator(*key).standard_normal(shape, dtype=np.float32)
