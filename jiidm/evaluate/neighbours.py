"""Whose neighbour is an image? Precision, recall and copies, by distances between features [N,D]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from jiidm.evaluate.metrics import BLOCK

K = 3
"""The neighbour that tells the radius around an image (Kynkaanniemi et al. 2019)."""


class Coverage(NamedTuple):
    """What precision and recall are the means of."""

    inside: np.ndarray
    """bool [N]: the generated image lies among the real ones."""
    covered: np.ndarray
    """bool [M]: the real image lies among the generated ones."""


class Nearest(NamedTuple):
    number: np.ndarray
    """int [N]: the nearest of the others."""
    distance: np.ndarray
    """float64 [N]: how far it is, in the units of the features."""


def coverage(features: np.ndarray, reality: np.ndarray, k: int = K) -> Coverage:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991), image by image.

    features [N,D] are of generated images, reality [M,D] of real ones. An image lies among others where it is no
    farther from one of them than that one is from its own k-th neighbour. Raises ValueError where there are not more
    than k on each side.
    """
    if min(len(features), len(reality)) <= k:
        raise ValueError(f"{k} neighbours need more than {k} images, not {len(features)} and {len(reality)}")
    radius, real_radius = _radii(features, k), _radii(reality, k)
    inside, covered = np.zeros(len(features), bool), np.zeros(len(reality), bool)
    for rows, squares in _squared_distances(features, reality, "comparing images and photos"):
        inside[rows] = (squares <= real_radius).any(axis=1)
        covered |= (squares <= radius[rows, None]).any(axis=0)
    return Coverage(inside, covered)


def nearest(features: np.ndarray, others: np.ndarray) -> Nearest:
    """For each of features [N,D] the nearest of others [M,D]."""
    number, square = np.zeros(len(features), np.int64), np.zeros(len(features))
    for rows, squares in _squared_distances(features, others, "looking for the nearest photos"):
        number[rows], square[rows] = squares.argmin(axis=1), squares.min(axis=1)
    return Nearest(number, np.sqrt(square))


def nearest_other(features: np.ndarray) -> np.ndarray:
    """For each of features [N,D] the distance to the nearest of the rest, float64 [N]."""
    return np.sqrt(_radii(features, 1))


def _radii(features: np.ndarray, k: int) -> np.ndarray:
    """The squared distance of each of [N,D] to the k-th nearest of the rest: [N]."""
    radii = np.zeros(len(features))
    for rows, squares in _squared_distances(features, features, "distances between images"):
        radii[rows] = np.partition(squares, k, axis=1)[:, k]  # the nearest of all is itself
    return radii


def _squared_distances(x: np.ndarray, y: np.ndarray, told: str) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of rows of x [N,D], each with its squared distances [n,M] to y [M,D]."""
    y = y.astype(np.float64)
    y_norms = np.square(y).sum(axis=1)
    for start in tqdm(range(0, len(x), BLOCK), desc=told, delay=2):
        block = x[start : start + BLOCK].astype(np.float64)
        squares = np.square(block).sum(axis=1)[:, None] + y_norms - 2 * block @ y.T
        yield slice(start, start + BLOCK), squares.clip(0)
