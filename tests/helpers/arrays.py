"""Arrays that tests draw and compare."""

from __future__ import annotations

import numpy as np


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def largest_difference(a: np.ndarray, b: np.ndarray) -> int:
    """Of two images, in grey levels."""
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())
