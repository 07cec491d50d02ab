"""How far two trainings are apart, and how far they may be.

The yardstick is PyTorch against itself with its sums in another order. Training amplifies such a difference, which
rises and falls from step to step. So what counts at a step is the largest difference up to it. Jittor's may be at most
`FACTOR` times the yardstick's there. Where the yardstick is below `FLOOR`, `FLOOR` stands in for it. Jittor adds the
numbers of a mean one after the other, PyTorch in a tree, so the loss that Jittor prints is off by more than 1e-6.

A latent near the border of two codes may take either, and then the loss jumps. So PyTorch quantises to the codes that
Jittor took. Where PyTorch would have taken another, its latent may lie beyond the border of the two by as much as
latents may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

FACTOR = 2.0
FLOOR = 3e-6
FIRST_STEPS, FIRST_LIMIT = 10, 1e-4


def relative(losses: Sequence[float], oracle: Sequence[float]) -> np.ndarray:
    """The relative difference at every step."""
    oracle = np.asarray(oracle, np.float64)
    return np.abs(np.asarray(losses, np.float64) - oracle) / np.abs(oracle)


class Verdict(NamedTuple):
    largest: float
    """Jittor's largest difference."""
    yardstick: float
    """The yardstick's."""
    first: float
    """Jittor's largest in the term's first steps."""
    breach: int | None
    """The first step of training, counted from 1, at which the limit is broken."""
    broken: int
    """How many steps break it."""
    excess: float
    """The largest quotient of a step's difference and its limit."""

    @property
    def passed(self) -> bool:
        return self.breach is None


def judge(jittor: np.ndarray, yardstick: np.ndarray, joined: int = 0) -> Verdict:
    """jittor, yardstick: differences to PyTorch at every step that has the term; joined: steps before those."""
    limit = FACTOR * np.maximum(np.maximum.accumulate(yardstick), FLOOR)
    first = joined + np.arange(len(jittor)) < FIRST_STEPS
    excess = jittor / np.where(first, np.minimum(limit, FIRST_LIMIT), limit)
    broken = ~(excess <= 1)  # NaN breaks it too
    breach = joined + int(np.argmax(broken)) + 1 if broken.any() else None
    largest = (float(each.max()) for each in (jittor, yardstick, jittor[:FIRST_STEPS]))
    return Verdict(*largest, breach, int(broken.sum()), float(excess.max()))


def beyond_border(latents: np.ndarray, given: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How far latents [N,C] lie on their own codes' side of the plane between these and the given codes [N,C].

    It is relative to the latent's length, and 0 where the two codes are the same.
    """
    latents, given, own = (each.astype(np.float64) for each in (latents, given, own))
    lengths = 2 * np.linalg.norm(given - own, axis=1) * np.linalg.norm(latents, axis=1)
    nearer = np.sum((latents - given) ** 2 - (latents - own) ** 2, axis=1)
    return np.divide(nearer, lengths, out=np.zeros(len(latents)), where=lengths > 0)


def distance(triples: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | int]]) -> float:
    """The L2 distance of arrays to an oracle's, relative to how far the oracle's are from where they started.

    triples: array, oracle's and start of each.
    """
    apart = moved = 0.0
    for values, oracle, start in triples:
        apart += float(np.sum((values.astype(np.float64) - oracle) ** 2))
        moved += float(np.sum((oracle.astype(np.float64) - start) ** 2))
    return (apart / moved) ** 0.5
