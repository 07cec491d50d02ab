"""The paper's Table 1 and the orderings in constructed results."""

from __future__ import annotations

import numpy as np
import pytest

from jiidm.evaluate import bootstrap
from jiidm.evaluate.metrics import total_score
from jiidm.experiments.orderings import PAPER_TABLE_1, in_words, orderings
from jiidm.experiments.trials import Result

BASE = np.array([10, 20, 30, 40, 50, 60, 70, 80.0])


def constructed(name, **columns):
    """A result of eight images with these scores."""
    chosen = bootstrap.resamples(8)
    scores = {key: float(np.mean(values)) for key, values in columns.items()}
    return Result(name, {"scores": scores}, {key: bootstrap.means(values, chosen) for key, values in columns.items()})


def test_the_papers_totals_are_those_that_eq_8_gives():
    for name, (m, a, fid, s, t) in PAPER_TABLE_1.items():
        assert total_score(m, a, fid, s) == pytest.approx(t, abs=0.06 if name == "IIDM" else 0.011)


def test_every_pair_stands_as_the_paper_has_it():
    found = orderings([constructed(name, M=BASE, S=BASE) for name in PAPER_TABLE_1])
    pairs = {score: [(o.better, o.worse) for o in found if o.score == score] for score in ("M", "S")}
    assert len(found) == 30 and len(set(pairs["M"])) == 15
    assert pairs["M"][:5] == [("IIDM", other) for other in ("CLADE", "DM", "GauGAN", "SCGAN", "SEAN")]
    assert pairs["S"][0] == ("SEAN", "IIDM") and pairs["S"][-1] == ("SCGAN", "DM")


def test_differences_are_paired_by_image():
    """Every image differs by exactly 5, so the difference has no spread, however much the images differ."""
    (found,) = orderings([constructed("DM", M=BASE), constructed("IIDM", M=BASE + 5)])
    assert (found.better, found.worse, found.holds, found.clear) == ("IIDM", "DM", True, True)
    assert found.margin == pytest.approx(5) and found.interval == pytest.approx((5, 5))


@pytest.mark.parametrize("score", ["FID", "fd_seg"])
def test_of_distances_the_smaller_is_ahead(score):
    (found,) = orderings([constructed("DM", **{score: BASE}), constructed("IIDM", **{score: BASE - 5})])
    assert found.better == "IIDM" and found.holds and found.margin == pytest.approx(5)


def test_other_rows_and_missing_scores_are_left_out():
    found = orderings(
        [constructed("DM", M=BASE, S=BASE), constructed("IIDM", M=BASE), constructed("IIDM-demo", M=BASE)]
    )
    assert [(o.score, o.better, o.worse) for o in found] == [("M", "IIDM", "DM")]


def test_words():
    unsure = BASE + np.array([-40, 39, -40, 39, -40, 39, -40, 39])
    results = [constructed("DM", M=BASE), constructed("IIDM", M=unsure), constructed("CLADE", M=BASE + 5)]
    told = "\n".join(in_words(orderings(results)))
    assert "M: 1 of 3 orderings of the paper hold." in told
    assert "- hold: CLADE before DM (+5.00 [+5.00, +5.00])" in told
    assert (
        "- do not hold, though the interval contains 0: IIDM before CLADE" in told and "IIDM before DM (-0.50" in told
    )
