from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from jiidm.seeding import generator, normal

# Computed once by the lines of `by_hand`; a change of any of them changes every image ever made with a seed.
STORED = {
    (0,): [1.5691629648208618, -0.3988921344280243, 1.326720952987671],
    (3, "a.png", 1, "start"): [0.24616828560829163, -0.0017396396724507213, 0.11511759459972382],
    (2024, "order", 0): [-0.7069064974784851, -0.7235600352287292, -0.4505932927131653],
}


def by_hand(key, count):
    digest = hashlib.sha256(repr(key).encode("utf-8")).digest()
    low, high = np.frombuffer(digest[:16], dtype="<u8")
    bits = np.random.Philox(key=np.array([low, high], dtype=np.uint64))
    return np.random.Generator(bits).standard_normal(count, dtype=np.float32)


@pytest.mark.parametrize("key", STORED, ids=str)
def test_draws_equal_the_stored_numbers(key):
    assert normal((3,), *key).tolist() == STORED[key]
    assert by_hand(key, 3).tolist() == STORED[key]


def test_draws_have_the_shape_asked_for():
    draw = normal((2, 3, 4), 1)
    assert draw.shape == (2, 3, 4) and draw.dtype == np.float32
    np.testing.assert_array_equal(draw.ravel(), by_hand((1,), 24))


def test_earlier_draws_do_not_matter():
    alone = normal((5,), 1, "b")
    generator(1, "a").random(1000)
    np.random.seed(3)
    np.testing.assert_array_equal(normal((5,), 1, "b"), alone)


def test_different_keys_give_different_draws():
    keys = [(1, 2), (2, 1), (12,), ("1", 2), (1, "2"), ("12",), (1, 2, 0), (1, "a", 2), (1, "a, 2")]
    draws = {normal((4,), *key).tobytes() for key in keys}
    assert len(draws) == len(keys)


def test_draws_of_neighbouring_keys_are_independent_normals():
    samples = np.stack([normal((500,), 0, "x", i) for i in range(40)])
    assert stats.kstest(samples.ravel(), "norm").pvalue > 0.001
    correlations = np.corrcoef(samples)[np.triu_indices(40, 1)]
    assert abs(correlations).max() < 5 / np.sqrt(500)
