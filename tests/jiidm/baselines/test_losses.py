"""The GANs' losses against their formulas in numpy."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from jiidm.baselines import losses
from jiidm.model.gan.discriminators import Verdict

RNG = np.random.default_rng(1)
LOGITS = [[2 * RNG.standard_normal((2, 1, *size)) for size in ((3, 4), (2, 2))] for _ in range(2)]
FEATURES = [
    [[RNG.standard_normal((2, c, 3, 2)) for c in widths] for widths in ((4, 5, 6), (2, 3, 4))] for _ in range(2)
]


def verdict(number: int) -> Verdict:
    to_var = lambda array: jt.array(array.astype(np.float32))  # noqa: E731
    return Verdict(list(map(to_var, LOGITS[number])), [list(map(to_var, group)) for group in FEATURES[number]])


def test_hinge_averages_over_the_maps_each_by_its_own_mean():
    fake, real = LOGITS
    expected = np.mean([np.maximum(0, 1 + x).mean() + np.maximum(0, 1 - y).mean() for x, y in zip(fake, real)])
    assert losses.hinge_loss(verdict(0), verdict(1)).item() == pytest.approx(expected, rel=1e-5)


def test_hinge_is_zero_where_the_discriminator_is_sure():
    sure = [Verdict([jt.ones((1, 1, 2, 2)) * sign], []) for sign in (-1, 1)]
    assert losses.hinge_loss(*sure).item() == 0
    assert losses.hinge_loss(*sure[::-1]).item() == 4


def test_adversarial_loss_is_minus_the_mean_logit():
    expected = -np.mean([x.mean() for x in LOGITS[0]])
    assert losses.adversarial_loss(verdict(0)).item() == pytest.approx(expected, rel=1e-5)


def test_feature_matching_sums_layers_and_averages_scales():
    expected = sum(np.abs(a - b).mean() for ours, theirs in zip(*FEATURES) for a, b in zip(ours, theirs)) / 2
    assert losses.feature_matching(verdict(0), verdict(1)).item() == pytest.approx(expected, rel=1e-5)


def test_feature_matching_gives_real_features_no_gradient():
    fake, real = (jt.array(FEATURES[i][0][0].astype(np.float32)) for i in range(2))
    loss = losses.feature_matching(Verdict([], [[fake]]), Verdict([], [[real]]))
    ours, theirs = jt.grad(loss, [fake, real])
    np.testing.assert_allclose(ours.numpy(), np.sign(fake.numpy() - real.numpy()) / fake.numel(), rtol=1e-5)
    assert not theirs.numpy().any()


def test_kl_divergence_is_a_sum_over_dimensions_and_batch():
    mean, log_variance = RNG.standard_normal((2, 3, 8))
    by_dimension = (mean**2 + np.exp(log_variance) - 1) / 2 - log_variance / 2  # of N(mean, variance) from N(0, 1)
    found = losses.kl_divergence(*(jt.array(x.astype(np.float32)) for x in (mean, log_variance)))
    assert found.item() == pytest.approx(by_dimension.sum(), rel=1e-5)
    assert losses.kl_divergence(jt.zeros((2, 8)), jt.zeros((2, 8))).item() == 0


SEGMENTS = RNG.integers(0, 4, (2, 3, 5))
SCORES = RNG.standard_normal((2, 6, 3, 5))
"""Logits of the class "fake" and five others, of which the last does not occur in SEGMENTS."""


def cross_entropy(targets: np.ndarray) -> np.ndarray:
    """Of each pixel, by the definition."""
    log_sums = np.log(np.exp(SCORES).sum(1))
    return log_sums - np.take_along_axis(SCORES, targets[:, None], 1)[:, 0]


def test_class_balanced_cross_entropy_is_the_mean_over_classes_of_the_mean_over_their_pixels():
    segmap = jt.array(np.eye(5, dtype=np.float32)[SEGMENTS].transpose(0, 3, 1, 2).copy())
    entropy = cross_entropy(SEGMENTS + 1)
    expected = np.mean([entropy[label == SEGMENTS].mean() for label in range(4)])
    found = losses.class_balanced_cross_entropy(jt.array(SCORES.astype(np.float32)), segmap)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_fake_cross_entropy_has_the_first_class_everywhere():
    expected = cross_entropy(np.zeros_like(SEGMENTS)).mean()
    assert losses.fake_cross_entropy(jt.array(SCORES.astype(np.float32))).item() == pytest.approx(expected, rel=1e-5)
