"""Intervals against closed forms and scipy; resampled distances against `metrics` and scipy's matrix root."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg, stats

from jiidm.evaluate import bootstrap, metrics


def test_equal_counts_give_equal_draws_and_every_image_can_be_drawn():
    chosen = bootstrap.resamples(12)
    assert chosen.shape == (bootstrap.RESAMPLES, 12) and set(np.unique(chosen)) == set(range(12))
    np.testing.assert_array_equal(chosen, bootstrap.resamples(12))
    assert len(np.unique(chosen, axis=0)) == bootstrap.RESAMPLES


def test_the_interval_of_a_mean_is_the_normal_one():
    """mean -+ 1.96 s / sqrt(N) for Gaussian values; 1000 draws know their quantiles to about 6 % of its width."""
    values = np.random.default_rng(0).normal(70, 8, 400)
    low, high = bootstrap.interval_of_mean(values)
    half = stats.norm.ppf(0.975) * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.08 * half)


def test_the_interval_of_a_skewed_mean_is_scipys():
    """A tail quantile of 1000 draws has a standard deviation of about 3 % of the interval's width."""
    values = np.random.default_rng(1).exponential(10, 60)
    ours = bootstrap.interval_of_mean(values)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.09 * (theirs.high - theirs.low))


def test_intervals_of_the_mean_hold_the_truth_in_95_of_100_cases():
    rng, chosen, held = np.random.default_rng(3), bootstrap.resamples(50), 0
    for _ in range(400):
        values = rng.normal(5, 2, 50)
        low, high = bootstrap.interval(values.mean(), bootstrap.means(values, chosen))
        held += low <= 5 <= high
    assert 0.91 <= held / 400 <= 0.98


@pytest.mark.parametrize(("count", "dimensions"), [(40, 6), (9, 20)], ids=["more images", "more features"])
def test_resampled_distances_are_those_of_the_resampled_features(count, dimensions):
    rng = np.random.default_rng(4)
    features = rng.normal(0, 2, (count, dimensions)) + rng.normal(0, 1, (count, 1))
    mu, sigma = metrics.gaussian(rng.normal(1, 1, (300, dimensions)))
    chosen = bootstrap.resamples(count)[:5]
    ours = bootstrap.distances(features, (mu, sigma), chosen)
    for distance, row in zip(ours, chosen):
        own_mu, own_sigma = features[row].mean(axis=0), np.cov(features[row], rowvar=False)
        root = linalg.sqrtm(own_sigma @ sigma).real
        expected = np.square(own_mu - mu).sum() + np.trace(own_sigma + sigma - 2 * root)
        assert distance == pytest.approx(expected, rel=1e-5)
        assert distance == pytest.approx(metrics.frechet_distance(own_mu, own_sigma, mu, sigma), rel=1e-6)


def test_the_interval_of_a_distance_holds_the_distance_though_its_draws_lie_above():
    features = np.random.default_rng(5).normal(0, 1, (30, 16))
    reality = np.zeros(16), np.eye(16)
    draws = bootstrap.distances(features, reality, bootstrap.resamples(30))
    estimate = metrics.frechet_distance(*metrics.gaussian(features), *reality)
    assert np.percentile(draws, 2.5) > estimate
    low, high = bootstrap.interval(estimate, draws)
    assert low < estimate < high
    assert high - low == pytest.approx(np.subtract(*np.percentile(draws, (97.5, 2.5))))


def test_no_end_is_below_the_least():
    assert bootstrap.interval(0.5, np.array([0.0, 9.0]), least=0.0)[0] == 0.0
