"""PyTorch's side of the parity tests: weights out of the arrays that oracle.py's `ask` sends."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch


def weights(inputs: Mapping[str, np.ndarray], prefix: str = "weights/") -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): torch.from_numpy(inputs[name]) for name in inputs if name.startswith(prefix)}
