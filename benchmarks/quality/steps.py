"""How many network passes an image needs: chains of few steps against the chain of a config.

    python -m benchmarks.quality.steps --out steps

Every chain goes through all rounds of the config, with their starts, guidance scales and colour transfers, under the
same masks, references and noise. The masks are generated, and the model was not trained on them. A row is a chain:

- passes of the network an image, two a guided step;
- M, S and fd_seg as `jiidm score` gives them, with 95 % bootstrap intervals;
- how much M and S differ from those of the config's own chain, image by image, with intervals;
- how far the images are from that chain's: mean difference in grey levels, and PSNR.

The picture is docs/img/steps.png. Images that are there already are kept, so an interrupted call goes on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.common import cli, jittor_side

if TYPE_CHECKING:
    from jiidm.config.schema import Config
    from jiidm.experiments.trials import Result, Trial
    from jiidm.inference.inputs import Job

PICTURE = Path(__file__).parents[2] / "docs" / "img" / "steps.png"
FULL, FAST = "as configured", "--fast"
LOW, LAST = 100, 999


class Chain(NamedTuple):
    name: str
    sampler: str
    spacing: str
    steps: tuple[int, ...] = (5, 10, 15)
    """The most that a round takes. A round of fewer keeps its number."""
    interval: tuple[int, int] | None = None
    """Of timesteps that are guided."""


CHAINS = (
    Chain("DDIM", "ddim", "trailing", (5, 10)),
    Chain("DPM-Solver++(2M)", "dpmpp_2m", "logsnr"),
    Chain("UniPC", "unipc", "logsnr"),
    Chain(f"UniPC, guided from {LOW}", "unipc", "logsnr", (5, 10, 13), (LOW, LAST)),
)
OTHERS = (Chain("UniPC, guided from 200", "unipc", "logsnr", (10,), (200, LAST)),)
"""In the table, not in the picture."""


class Point(NamedTuple):
    """What a chain of so many steps gives."""

    passes: int
    result: Result
    grey: float
    """Mean absolute difference from the config's own chain, of 255."""
    psnr: float


def image_distance(images: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Mean absolute difference in grey levels and PSNR in dB of uint8 arrays of one shape."""
    difference = images.astype(float) - others
    mean_square = (difference**2).mean()
    return float(np.abs(difference).mean()), math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


def rounds_of(config: Config, chain: Chain, steps: int) -> list:
    """The config's rounds, sampled by a chain."""
    return [
        dataclasses.replace(
            round_,
            num_steps=min(steps, round_.num_steps),
            sampler=chain.sampler,
            spacing=chain.spacing,
            guidance_interval=chain.interval,
        )
        for round_ in config.inference.rounds
    ]


def trials(config: Config, file) -> dict[tuple[str, int], Trial]:
    """By chain and number of steps; the config's own chain and its `--fast` come first, with 0."""
    from jiidm.config import load as configs
    from jiidm.experiments.trials import Trial

    found = {(FULL, 0): Trial(FULL, file, config), (FAST, 0): Trial("fast", file, configs.fast(config))}
    for chain in (*CHAINS, *OTHERS):
        for steps in chain.steps:
            changed = configs.with_rounds(config, rounds_of(config, chain, steps), chain.name)
            found[chain.name, steps] = Trial(f"{chain.name} in {steps}", file, changed)
    return found


def measure(found: dict[tuple[str, int], Trial], jobs: Sequence[Job], out: Path) -> dict[tuple[str, int], Point]:
    from jiidm.data.images import load_image
    from jiidm.evaluate.score import Evaluators
    from jiidm.experiments.held_out import FOLDER
    from jiidm.experiments.trials import score_trial
    from jiidm.model.build import build_schedule, count_passes

    evaluators = Evaluators.shipped()

    def images(trial: Trial) -> np.ndarray:
        return np.stack([load_image(out / trial.name / f"{job.stem}.jpg") for job in jobs])

    points, full = {}, images(found[FULL, 0])
    for key, trial in found.items():
        schedule = build_schedule(trial.config.schedule)
        passes = sum(count_passes(round_, schedule) for round_ in trial.config.inference.rounds)
        result = score_trial(trial.name, jobs, out, evaluators, out / FOLDER)
        points[key] = Point(passes, result, *image_distance(images(trial), full))
    return points


def change(result: Result, full: Result, score: str) -> tuple[float, tuple[float, float]]:
    """By how much a score exceeds that of the config's own chain, and the interval; both chains have the same masks."""
    from jiidm.evaluate import bootstrap

    difference = result.scores[score] - full.scores[score]
    return difference, bootstrap.interval(difference, result.draws[score] - full.draws[score])


def describe(points: dict[tuple[str, int], Point]) -> str:
    """The table, in Markdown."""
    from jiidm.evaluate import bootstrap
    from jiidm.report.tables import table

    full = points[FULL, 0].result

    def told(result: Result, score: str) -> str:
        return "" if result is full else bootstrap.signed(*change(result, full, score))

    rows = [
        (
            name,
            steps or "",
            point.passes,
            *(point.result.cell(score) for score in ("M", "S", "fd_seg")),
            *(told(point.result, score) for score in ("M", "S")),
            "" if point.result is full else f"{point.grey:.2f}, {point.psnr:.1f} dB",
        )
        for (name, steps), point in points.items()
    ]
    header = ("chain", "steps a round", "passes", "M", "S", "fd_seg", "M, change", "S, change", "difference")
    return table(rows, header)


def draw(points: dict[tuple[str, int], Point], path: Path) -> None:
    """Against passes: how each score differs from that of the config's own chain, and how far the images are."""
    from matplotlib.figure import Figure

    panels = {
        "M": "M, change (higher is better)",
        "S": "S, change (higher is better)",
        "fd_seg": "fd_seg, change (lower is better)",
    }
    full, fast = points[FULL, 0], points[FAST, 0]
    figure = Figure(figsize=(4.2 * (len(panels) + 1), 4.6), dpi=110, layout="constrained")
    *scored, last = figure.subplots(1, len(panels) + 1)
    last.set_title("difference from its images, grey levels", fontsize=10)
    for axes, title in zip(scored, panels.values()):
        axes.set_title(title, fontsize=10)
        axes.axhline(0, color="dimgray", linestyle="--", linewidth=1.2, label=f"{FULL}, {full.passes} passes")
    for number, chain in enumerate(CHAINS):
        own, color = [points[chain.name, steps] for steps in chain.steps], f"C{number}"
        passes = np.array([point.passes for point in own]) * (1 + 0.015 * number)  # bars beside each other
        for axes, score in zip(scored, panels):
            values, intervals = zip(*(change(point.result, full.result, score) for point in own))
            reach = np.abs(np.array(intervals).T - values)
            options = {"fmt": "o-", "markersize": 4, "capsize": 2, "linewidth": 1.4, "elinewidth": 0.6}
            axes.errorbar(passes, values, yerr=reach, color=color, label=chain.name, **options)
        last.plot(passes, [point.grey for point in own], "o-", color=color, markersize=4, linewidth=1.4)
    for axes in (*scored, last):
        axes.axvline(fast.passes, color="black", linestyle=":", linewidth=1, label=f"{FAST}, {fast.passes} passes")
        axes.set(xlabel="network passes an image", xscale="log")
        ticks = sorted({points[chain.name, steps].passes for chain in CHAINS[:3] for steps in chain.steps})
        axes.set_xticks(ticks, labels=map(str, ticks))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    handles, labels = scored[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path)


def main() -> None:
    parser = cli.experiment_parser(__doc__, count=16, config="iidm")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE", help="default: docs/img/steps.png")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)

    from jiidm.config import load as configs
    from jiidm.evaluate import bootstrap
    from jiidm.experiments import held_out
    from jiidm.experiments import trials as experiment
    from jiidm.model.files import SHIPPED, ModelFile

    file = ModelFile(SHIPPED)
    own = file.config  # the shipped model's size and networks, under the rounds of the config
    rounds = configs.load_config(arguments.config).inference
    inference = dataclasses.replace(rounds, batch_size=own.inference.batch_size)
    config = dataclasses.replace(own, inference=inference)
    # one more, so that no mask has the first one's photo, and the images of few masks are the first of many
    jobs = held_out.lay_out(arguments.out, arguments.count + 1, config.data.size, None)[: arguments.count]
    found = trials(config, file)
    experiment.generate(list(found.values()), jobs, arguments.out, seed=0)
    points = measure(found, jobs, arguments.out)
    print(f"{len(jobs)} masks; in brackets {100 * bootstrap.CONFIDENCE:.0f} % bootstrap intervals.\n")
    print(describe(points))
    draw(points, arguments.picture)


if __name__ == "__main__":
    main()
