"""Bootstrap confidence intervals: how far would a score move with other images of the same kind?"""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

RESAMPLES = 1000
CONFIDENCE = 0.95
_SEED = 0


def resamples(count: int) -> np.ndarray:
    """Which of `count` images each resample holds: int [RESAMPLES, count], drawn with replacement.

    Equal counts give equal draws. So the images of two methods for one mask stay together, and differences are paired.
    """
    return np.random.default_rng(_SEED).integers(count, size=(RESAMPLES, count))


def means(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The mean of values [N] in each of the resamples [R,N]: [R]."""
    return np.asarray(values, dtype=np.float64)[chosen].mean(axis=1)


def distances(features: np.ndarray, reality: tuple[np.ndarray, np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """`metrics.frechet_distance` of each of the resamples [R,N] of features [N,D] to a Gaussian (mu [D], sigma [D,D]).

    With X the centred features, Tr((S1 S2)^(1/2)) is the sum of the singular values of X S2^(1/2) / sqrt(N - 1). So the
    root of S2 is taken once. N rows span at most N dimensions; where D is larger they are turned into those.
    """
    mu, sigma = reality
    features = np.asarray(features, dtype=np.float64)
    values, vectors = np.linalg.eigh(sigma)
    projected = features @ (vectors * np.sqrt(values.clip(0)))
    if len(projected) < projected.shape[1]:
        projected = np.asarray(np.linalg.qr(projected.T, mode="r")).T
    rows = tqdm(chosen, desc="resampling", delay=2)
    return np.array([_distance(features[row], projected[row], mu, np.trace(sigma)) for row in rows])


def _distance(x: np.ndarray, projected: np.ndarray, mu: np.ndarray, variance: float) -> float:
    """x: features [N,D]; projected: their product with the real covariance's root, turned; variance: its trace."""
    mean, freedom = x.mean(axis=0), len(x) - 1
    y = projected - projected.mean(axis=0)
    root_trace = np.sqrt(np.linalg.eigvalsh(y.T @ y).clip(0) / freedom).sum()
    own = np.square(x - mean).sum() / freedom
    return float(np.square(mean - mu).sum() + own + variance - 2 * root_trace)


def interval(estimate: float, draws: np.ndarray, least: float = -np.inf) -> tuple[float, float]:
    """The middle 95 % of a statistic's draws [R], moved so that their mean is the estimate from all images.

    For a mean this is the percentile interval (Efron & Tibshirani 1993, ch. 13). A Frechet distance grows with repeated
    images, so all its draws lie above the estimate, and without the move the interval would not hold it. The width is
    the spread at this number of images. It is too wide where there are not several times as many images as features.
    No end lies below `least`, since a distance cannot be negative.
    """
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, (tail, 100 - tail)) + (estimate - np.mean(draws))
    return max(float(low), least), max(float(high), least)


def interval_of_mean(values: np.ndarray, least: float = -np.inf) -> tuple[float, float]:
    """`interval` of the mean of values [N], one for each image, or of how far each image is above its twin."""
    return interval(float(np.mean(values)), means(values, resamples(len(values))), least)


def signed(difference: float, interval: tuple[float, float]) -> str:
    """A difference and its interval as every table prints them: +0.60 [-0.23, +1.38]."""
    return f"{difference:+.2f} [{interval[0]:+.2f}, {interval[1]:+.2f}]"
