"""What is averaged over the choices that eight seeds hold."""

from __future__ import annotations

import numpy as np

from benchmarks.quality import candidates


def test_the_best_of_every_so_many_seeds_in_a_row_counts():
    values = np.array([[1, 5, 2, 2], [9, 0, 3, 4]], float)
    scores = np.array([[10, 20, 30, 40], [50, 60, 70, 80]], float)
    np.testing.assert_array_equal(candidates.best_of(values, scores, 1), [25, 65])
    np.testing.assert_array_equal(
        candidates.best_of(values, scores, 2), [(20 + 30) / 2, (50 + 80) / 2]
    )  # first of equals
    np.testing.assert_array_equal(candidates.best_of(values, scores, 4), [20, 50])
