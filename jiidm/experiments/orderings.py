"""The paper's Table 1 as printed, and which of its orderings other results share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from jiidm.evaluate import bootstrap
from jiidm.experiments.trials import Result

SCORES = ("M", "A", "FID", "S", "T")
PAPER_TABLE_1 = {
    "SEAN": (76.03, 47.72, 75.36, 68.38, 35.82),
    "SCGAN": (87.74, 49.14, 56.13, 30.66, 45.06),
    "GauGAN": (89.54, 49.59, 43.39, 54.42, 54.96),
    "CLADE": (92.09, 50.98, 40.63, 48.14, 57.18),
    "DM": (91.01, 49.12, 35.41, 27.90, 55.79),
    "IIDM": (94.15, 50.43, 30.75, 63.76, 65.27),
}
DISTANCES = ("FID", "fd_seg")
"""Smaller is better; the paper's FID is what both are compared with."""


class Ordering(NamedTuple):
    """One pair of methods and one score: the paper has `better` before `worse`."""

    score: str
    better: str
    worse: str
    margin: float
    """By how much `better` is better here; negative where the paper's ordering does not hold."""
    interval: tuple[float, float]
    """95 %, of the difference paired by image."""

    @property
    def holds(self) -> bool:
        return self.margin > 0

    @property
    def clear(self) -> bool:
        """Whether the interval does not contain 0."""
        return not self.interval[0] <= 0 <= self.interval[1]

    def __str__(self) -> str:
        return f"{self.better} before {self.worse} ({bootstrap.signed(self.margin, self.interval)})"


def orderings(results: Sequence[Result]) -> list[Ordering]:
    """Every pair of the paper's methods among the results, for every score that they have; best in the paper first."""
    by_name = {result.name: result for result in results if result.name in PAPER_TABLE_1}
    found = []
    for score in ("M", "A", *DISTANCES, "S", "T"):
        if not all(score in result.scores for result in by_name.values()):
            continue
        column = SCORES.index("FID" if score in DISTANCES else score)
        sign = -1 if score in DISTANCES else 1
        ranked = sorted(by_name, key=lambda name: -sign * PAPER_TABLE_1[name][column])
        for better, worse in itertools.combinations(ranked, 2):
            a, b = by_name[better], by_name[worse]
            margin = sign * (a.scores[score] - b.scores[score])
            draws = sign * (a.draws[score] - b.draws[score])
            found.append(Ordering(score, better, worse, margin, bootstrap.interval(margin, draws)))
    return found


def in_words(found: Sequence[Ordering]) -> list[str]:
    """For each score how many of the paper's orderings hold, and which, a line each."""
    lines = []
    for score, group in itertools.groupby(found, lambda ordering: ordering.score):
        pairs = list(group)
        held = sum(pair.holds for pair in pairs)
        title = f"{score}, against the paper's FID" if score == "fd_seg" else score
        lines.append(f"{title}: {held} of {len(pairs)} orderings of the paper hold.")
        for words, chosen in (
            ("hold", [pair for pair in pairs if pair.holds and pair.clear]),
            ("hold, though the interval contains 0", [pair for pair in pairs if pair.holds and not pair.clear]),
            ("do not hold, though the interval contains 0", [p for p in pairs if not p.holds and not p.clear]),
            ("do not hold", [pair for pair in pairs if not pair.holds and pair.clear]),
        ):
            if chosen:
                lines.append(f"- {words}: {'; '.join(map(str, chosen))}")
        lines.append("")
    return lines
