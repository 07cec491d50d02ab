"""Compare several output folders: a table of their scores, and their images side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jiidm.classes import colorize
from jiidm.data.identity import same_weights
from jiidm.data.images import load_image, load_mask, read_size
from jiidm.errors import InputError
from jiidm.evaluate import bootstrap
from jiidm.inference import scorecard
from jiidm.inference.inputs import Job
from jiidm.report import tables
from jiidm.report.sheets import contact_sheet

ROWS = 8


def table(runs: Sequence[Path]) -> str:
    """The runs' scores, a row each. Below them how far each is from the first, or why the runs may not compare.

    Raises InputError for a run without scores, or whose scores are of other images than it holds now.
    """
    cards = [scorecard.load(run) for run in runs]
    scores = scorecard.as_table([(str(run), card["scores"]) for run, card in zip(runs, cards)])
    if obstacles := _obstacles(cards):
        return "\n".join([scores, *obstacles])
    return f"{scores}\n\n{_differences(runs, cards)}" if len(runs) > 1 else scores


def _obstacles(cards: Sequence[dict[str, Any]]) -> list[str]:
    """The reasons why scores may not compare."""
    parts = sorted({key for card in cards for key in card["made_with"]})
    others = [part for part in parts if len({_essence(card["made_with"].get(part)) for card in cards}) > 1]
    found = [f"not comparable: the runs were scored with another {part}" for part in others]
    if len({tuple(sorted(card["images"])) for card in cards}) > 1:
        found.append("not comparable: the runs are of other masks")
    elif len({card["inputs"]["sha256"] for card in cards if "inputs" in card}) > 1:  # earlier versions kept none
        found.append("not comparable: the runs were scored by other masks or references")
    return found


def _differences(runs: Sequence[Path], cards: Sequence[dict[str, Any]]) -> str:
    """The mean over all masks of how far each run's M, A and S are above the first's, with paired intervals."""
    stems = sorted(cards[0]["images"])
    every = [image for card in cards for image in card["images"].values()]
    names = [name for name in ("M", "A", "S") if all(name in image for image in every)]

    def gain(card: dict[str, Any], name: str) -> str:
        above = np.array([card["images"][stem][name] - cards[0]["images"][stem][name] for stem in stems])
        if len(stems) < 2:  # one mask does not tell how far another would be from it
            return f"{above.mean():+.2f}"
        return bootstrap.signed(above.mean(), bootstrap.interval_of_mean(above))

    rows = [[str(run), *(gain(card, name) for name in names)] for run, card in zip(runs[1:], cards[1:])]
    kind = f"paired by mask, with {100 * bootstrap.CONFIDENCE:.0f} % bootstrap intervals"
    return f"Above {runs[0]}, {kind}:\n\n{tables.table(rows, ('run', *names))}"


def _essence(used: object) -> str:
    """The part of an evaluator that decides scores: everything but the names of its files and folder."""

    def deciding(part: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in part.items() if key not in ("name", "folder", "source")}
        return kept | {"sha256": same_weights(str(part["sha256"]))} if "sha256" in part else kept

    return json.dumps(json.loads(json.dumps(used), object_hook=deciding), sort_keys=True)


def picture(runs: Sequence[Path], jobs: Sequence[Job], path: Path) -> None:
    """Draw reference, mask and each run's image side by side, as the paper's Figures 5 and 6 do.

    The picture has eight masks at most, spread evenly over those that every run has an image of. Without `jobs` it has
    the runs' images only. Raises InputError where the runs have none in common or an image is damaged, OSError where
    `path` cannot be written.
    """
    painted = [{image.stem for image in run.glob("*.jpg") if image.name[0] != "."} for run in runs]
    known = {job.stem: job for job in jobs}
    common = sorted(set.intersection(*painted, *([set(known)] if jobs else [])))
    if not common:
        raise InputError(f"{', '.join(map(str, runs))}: no image that all of them have")
    count = min(ROWS, len(common))
    stems = [common[i * len(common) // count] for i in range(count)]
    rows = []
    for stem in stems:
        size = read_size(runs[0] / f"{stem}.jpg")
        row = [load_image(run / f"{stem}.jpg", size) for run in runs]
        if jobs:
            row = [load_image(known[stem].reference, size), colorize(load_mask(known[stem].mask, size)), *row]
        rows.append(row)
    captions = [*(["reference", "mask"] if jobs else []), *_titles(runs)]
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(rows, path, captions, stems)


def _titles(runs: Sequence[Path]) -> list[str]:
    """The folders' names, or their paths where the names do not tell them apart."""
    names = [run.name for run in runs]
    return names if all(names) and len(set(names)) == len(runs) else [str(run) for run in runs]
