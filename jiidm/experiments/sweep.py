"""The trade-off of the start timestep: a low one keeps the reference's colours, a high one follows the mask."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jiidm.config.load import with_rounds
from jiidm.config.schema import Config, ReleasedConfig
from jiidm.evaluate import bootstrap
from jiidm.experiments.trials import Result, Trial, configure
from jiidm.model.build import build_schedule
from jiidm.model.files import ModelFile
from jiidm.report.plots import Panel, plot_panels
from jiidm.report.tables import table


class Point(NamedTuple):
    """The scores of the first round from one start."""

    start: int
    kept: float
    """sqrt(abar) there: the share of the reference in the noised latent."""
    result: Result


def trials(given: Config, model: Path, starts: Sequence[int]) -> dict[int, Trial]:
    """The first round alone, from each of `starts` and from its own.

    It takes as many steps as it has, or start + 1 where those are fewer. Its colour transfer and the config's
    `released` section are left out. Raises InputError for a start outside the schedule, and as `configure` does.
    """
    file = ModelFile(model)
    config = dataclasses.replace(configure(file, given), released=ReleasedConfig())
    first = dataclasses.replace(config.inference.rounds[0], color_transfer=False)
    found = {}
    for start in sorted({*starts, first.start_timestep}):
        round_ = dataclasses.replace(first, start_timestep=start, num_steps=max(1, min(first.num_steps, start + 1)))
        found[start] = Trial(f"start_{start:04d}", file, with_rounds(config, [round_], f"--starts {start}"))
    return found


def points(config: Config, results: dict[int, Result]) -> list[Point]:
    schedule = build_schedule(config.schedule)
    return [Point(start, math.sqrt(schedule.alpha_bar(start)), result) for start, result in results.items()]


def describe(found: Sequence[Point], fd_name: str, chosen: int, notes: Sequence[str]) -> str:
    """A table with a row per start, as Markdown, after the `notes`. The config's own start is marked."""
    scores = ("S", "M", fd_name)
    rows = [
        [f"{p.start}{' (chosen)' if p.start == chosen else ''}", p.kept, *(p.result.cell(score) for score in scores)]
        for p in found
    ]
    count = found[0].result.card["outputs"]["count"]
    kind = f"{100 * bootstrap.CONFIDENCE:.0f} % bootstrap intervals, {bootstrap.RESAMPLES} resamples"
    warnings = "".join(f"\nWarning: {warning}." for warning in found[0].result.card["warnings"])
    title = "\n".join([*notes, f"First round of {count} masks; in brackets {kind}.{warnings}"])
    return f"{title}\n\n{table(rows, ('start', 'sqrt(abar)', *scores))}"


def as_json(found: Sequence[Point], config: Config, chosen: int) -> dict[str, Any]:
    return {
        "config": config.name,
        "chosen_start": chosen,
        "bootstrap": {"resamples": bootstrap.RESAMPLES, "confidence": bootstrap.CONFIDENCE},
        "outputs": found[0].result.card["outputs"]["count"],
        "made_with": found[0].result.card["made_with"],
        "points": [{"start": p.start, "sqrt_alpha_bar": p.kept, **p.result.as_json()} for p in found],
    }


def plot(found: Sequence[Point], fd_name: str, chosen: int, path: Path) -> None:
    """Draw S, M and the Frechet distance against the start, with their intervals and a line at the chosen start."""
    titles = {
        "S": "S: colours of the reference (higher is better)",
        "M": "M: structure of the mask (higher is better)",
        fd_name: f"{fd_name}: distance from real (lower is better)",
    }
    panels = [
        Panel(title, [p.result.scores[score] for p in found], [p.result.interval(score) for p in found])
        for score, title in titles.items()
    ]
    starts = [p.start for p in found]
    plot_panels(panels, starts, path, "start timestep of the first round", (chosen, f"chosen start, {chosen}"))
