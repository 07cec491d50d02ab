"""Table 1 for people and programs: Markdown, CSV, a plot of the intervals, and the paper's Figures 5 and 6."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from jiidm.classes import colorize
from jiidm.data.images import load_image, load_mask, read_size
from jiidm.evaluate import bootstrap
from jiidm.experiments import compare
from jiidm.experiments.orderings import DISTANCES, PAPER_TABLE_1, SCORES, in_words, orderings
from jiidm.experiments.table1 import Row
from jiidm.inference import scorecard
from jiidm.inference.inputs import Job
from jiidm.report.closeups import enlarged, framed, widest_difference
from jiidm.report.plots import Dot, plot_dots
from jiidm.report.sheets import contact_sheet
from jiidm.report.tables import table

CLOSE_UPS = 6
FACTS = {
    "images": "size",
    "parameters": "parameters",
    "GFLOP an image": "gflop",
    "s an image": "seconds_per_image",
    "how the reference enters": "reference",
    "networks that took part in training": "networks",
}


def columns(rows: Sequence[Row]) -> list[str]:
    """The scores that any row has, in the paper's order."""
    return [score for score in scorecard.COLUMNS if any(score in row.result.scores for row in rows)]


def describe(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The table beside the paper's, what each method is and costs, and the orderings that hold, as Markdown."""
    scores, card = columns(rows), rows[0].result.card
    judge = card["made_with"]["segmenter"]["name"]
    distance = card["made_with"]["distance"]["network"]["name"]
    lines = [
        *(f"{note}\n" for note in notes),
        f"{len(card['images'])} masks; in brackets {100 * bootstrap.CONFIDENCE:.0f} % bootstrap intervals, "
        f"{bootstrap.RESAMPLES} resamples of the images.",
        f"M by {judge}, the Frechet distance by the features of {distance}. Neither took part in training, as far "
        "as the model files tell.\n",
        table(_cells(rows, scores), ("method", *scores, *(f"paper's {score}" for score in SCORES))),
        "",
        table([_facts(row) for row in rows], ("method", *FACTS)),
        "",
        *(f"{name} is absent: {reason}." for name, reason in card["absent"].items()),
        *(f"Warning: {warning}." for warning in card["warnings"]),
        "\nThe paper's orderings (512x384 photos, other networks), and by how much the first is ahead here:\n",
        *in_words(orderings([row.result for row in rows])),
    ]
    return "\n".join(lines).rstrip()


def _cells(rows: Sequence[Row], scores: Sequence[str]) -> list[list[str]]:
    printed = {name: [f"{value:.2f}" for value in values] for name, values in PAPER_TABLE_1.items()}
    absent = ["-"] * len(SCORES)
    return [[row.name, *map(row.result.cell, scores), *printed.get(row.name, absent)] for row in rows]


def _facts(row: Row) -> list[str]:
    return [row.name, *(_shown(row.facts[key]) for key in FACTS.values())]


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def as_csv(rows: Sequence[Row]) -> str:
    """A line per method: every score with the ends of its interval and the paper's value, then the facts."""
    scores = columns(rows)
    header = [
        "method",
        *(f"{s}{end}" for s in scores for end in ("", "_low", "_high")),
        *(f"paper_{s}" for s in SCORES),
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*header, *FACTS.values()])
    for row in rows:
        found = [
            (row.result.scores[s], *row.result.interval(s)) if s in row.result.scores else ("",) * 3 for s in scores
        ]
        values = [f"{value:.4f}" if isinstance(value, float) else value for triple in found for value in triple]
        paper = PAPER_TABLE_1.get(row.name, ("",) * len(SCORES))
        writer.writerow([row.name, *values, *paper, *(row.facts[key] for key in FACTS.values())])
    return text.getvalue()


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draw every score with its interval, a line per method, and the paper's value where its column has one."""
    panels = {}
    for score in columns(rows):
        column = SCORES.index("FID" if score in DISTANCES else score)
        panels[score] = [
            Dot(
                row.result.scores[score],
                row.result.interval(score),
                None if score == "fd_seg" or row.name not in PAPER_TABLE_1 else PAPER_TABLE_1[row.name][column],
            )
            for row in rows
        ]
    plot_dots(panels, [row.name for row in rows], path)


def figure_5(rows: Sequence[Row], jobs: Sequence[Job], out: Path) -> Path:
    """Reference, mask and every row's image side by side."""
    path = out / "figure5.jpg"
    compare.picture([out / row.name for row in rows], jobs, path)
    return path


def figure_6(rows: Sequence[Row], jobs: Sequence[Job], out: Path) -> Path:
    """Close-ups where the rows' images differ most, of the masks where they differ most there."""
    found = []
    for job in jobs:
        images = [load_image(out / row.name / f"{job.stem}.jpg") for row in rows]
        found.append((widest_difference(images), job.stem))
    chosen = sorted(found, key=lambda pair: -pair[0].difference)[:CLOSE_UPS]
    by_stem, sheet = {job.stem: job for job in jobs}, []
    for window, stem in chosen:
        images = [load_image(out / row.name / f"{stem}.jpg") for row in rows]
        mask = colorize(load_mask(by_stem[stem].mask, read_size(out / rows[0].name / f"{stem}.jpg")))
        sheet.append([framed(mask, window), *(enlarged(image, window) for image in images)])
    path = out / "figure6.jpg"
    contact_sheet(sheet, path, ["mask", *(row.name for row in rows)], [stem for _, stem in chosen])
    return path
