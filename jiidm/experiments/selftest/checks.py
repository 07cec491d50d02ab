"""A check of the self-test: how far a device may be from what is expected, how far it is, and how fast."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jittor as jt
import numpy as np

from jiidm.report.tables import table
from jiidm.seeding import normal

EXACT, PRODUCTS, NETWORK = "exact", "products", "network"
ALLOWED = {"cpu": {EXACT: 1e-4, PRODUCTS: 1e-4, NETWORK: 2e-4}, "cuda": {EXACT: 1e-4, PRODUCTS: 5e-3, NETWORK: 5e-2}}
"""Largest difference per kind of check. CUDA may round what it multiplies to TF32, which has 10 bits of mantissa."""
FULL_PRECISION = 1e-5
"""Products in float32 differ by less than this, those in TF32 by more."""
TIMED_SECONDS, MOST_CALLS = 0.3, 20


class Row(NamedTuple):
    """A check: `difference` is the largest one, relative to the largest value that was expected."""

    name: str
    kind: str
    difference: float
    milliseconds: float | None
    reference_milliseconds: float | None = None
    """On the CPU, where a GPU was held to it."""
    failure: str = ""
    """Why the device did not run it at all; there is no time then, and the difference is inf."""

    def passes(self, device: str) -> bool:
        return self.difference <= ALLOWED[device][self.kind]


def as_table(rows: Sequence[Row], device: str) -> str:
    """A line per check; the CPU's time stands beside a GPU's."""
    lines = [
        [row.name, f"{row.difference:.1e}", f"{ALLOWED[device][row.kind]:.0e}", row.milliseconds or ""]
        + ([row.reference_milliseconds or ""] if device == "cuda" else [])
        + ["ok" if row.passes(device) else "FAILED" if row.failure else "WRONG"]
        for row in rows
    ]
    header = ["check", "difference", "allowed", f"ms on {device}", *(["ms on cpu"] if device == "cuda" else []), ""]
    return table(lines, header)


def rounds_products(rows: Sequence[Row], device: str) -> bool:
    """Whether products differ by more than float32 explains, and by no more than TF32 does."""
    return any(row.kind == PRODUCTS and row.difference > FULL_PRECISION and row.passes(device) for row in rows)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference, relative to the largest absolute value expected; inf for what is no number."""
    largest = float(np.abs(found - expected).max()) / float(np.abs(expected).max())
    return largest if math.isfinite(largest) else math.inf


def milliseconds(call: Callable[[], list[jt.Var]]) -> float:
    """The median time of a call, after one that may have to compile."""
    jt.sync(call())
    times: list[float] = []
    while not times or (sum(times) < TIMED_SECONDS and len(times) < MOST_CALLS):
        jt.sync_all(True)
        start = time.perf_counter()
        jt.sync(call())
        jt.sync_all(True)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of a size that keeps a layer's output about as large as its input; singular vectors of length 1."""
    if name.endswith(("weight_u", "weight_v")):
        return unit(name, shape[0])
    return normal(shape, "selftest", name) / np.float32(math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 10)


def unit(name: str, size: int) -> np.ndarray:
    vector = normal((size,), "selftest", name)
    return vector / np.linalg.norm(vector)
