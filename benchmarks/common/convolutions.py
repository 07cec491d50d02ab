"""The 3x3 convolutions that the benchmark of convolutions takes, and what both sides are given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    samples: int
    channels: int
    size: tuple[int, int]
    """(height, width)"""
    outputs: int


CASES = {
    "demo, 48x64": Case(8, 64, (48, 64), 64),
    "demo, 24x32": Case(8, 128, (24, 32), 128),
    "demo, 12x16": Case(8, 128, (12, 16), 128),
    "64 channels, 3x4": Case(2, 256, (3, 4), 256),
    "released, 96x128": Case(2, 256, (96, 128), 256),
    "released, 12x16": Case(2, 768, (12, 16), 768),
    "decoder, 192x256": Case(1, 64, (192, 256), 64),
}
"""Of guided steps: a batch of four masks, or one, with its null branch; and of the decoder."""


def arrays(case: Case) -> dict[str, np.ndarray]:
    """x [B,C,H,W], weight [O,C,3,3], bias [O] and the gradient of the result."""
    rng = np.random.default_rng(0)
    shapes = {
        "x": (case.samples, case.channels, *case.size),
        "weight": (case.outputs, case.channels, 3, 3),
        "bias": (case.outputs,),
        "grad_y": (case.samples, case.outputs, *case.size),
    }
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
