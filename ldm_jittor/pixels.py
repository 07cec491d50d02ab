"""Images as files have them, and as networks take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jittor as jt
import numpy as np


def to_model(images: Sequence[np.ndarray]) -> jt.Var:
    """uint8 RGB images [H,W,3] of one size -> float32 [B,3,H,W] in [-1,1]."""
    return jt.array(np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)


def to_images(x: jt.Var, to_integer: Callable[[np.ndarray], np.ndarray] = np.rint) -> np.ndarray:
    """[B,3,H,W] in about [-1,1] -> uint8 RGB [B,H,W,3], rounded unless told otherwise, and clipped."""
    return np.clip(to_integer((x.numpy() + 1) * 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
