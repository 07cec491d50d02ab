"""How M and S rise with the number of candidates, reported by another segmenter than the one that chooses.

    python -m benchmarks.quality.candidates --judge runs/judge/segmenter.safetensors --out candidates

Each mask is generated from as many seeds as the largest number has, once. `jiidm infer --candidates N` keeps the best
of N seeds in a row. So eight seeds are 8/N choices, and their mean counts. The shipped segmenter chooses, and the judge
reports. S needs no network. The table has M by both, S, the value that chooses, M (50 + S / 2), with the judge's M, and
what each gains over one candidate. Brackets are 95 % bootstrap intervals over the masks; gains are paired. What the
chooser's M gains more than the judge's is what asking the one that chose would add.

Images that are there already are kept, so an interrupted call goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import cli, jittor_side

NUMBERS = (1, 2, 4, 8)
PICTURE = Path(__file__).parents[2] / "docs" / "img" / "candidates.png"


def best_of(values: np.ndarray, scores: np.ndarray, number: int) -> np.ndarray:
    """The mean score of each mask's kept images: values and scores [masks,seeds] -> [masks].

    Of every `number` seeds in a row the one of the largest value is kept, the first of equals.
    """
    count = len(values)
    groups = values.reshape(count, -1, number)
    kept = np.take_along_axis(scores.reshape(groups.shape), groups.argmax(2)[..., None], axis=2)
    return kept[..., 0].mean(1)


def draw(results: dict[int, dict[str, tuple[float, float, float]]], path: Path) -> None:
    """M by both segmenters, and S, against the number of candidates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    lines = ((left, "M, judge", "tab:blue"), (left, "M, chooser", "tab:orange"), (right, "S", "tab:green"))
    for axes, name, color in lines:
        values, lows, highs = zip(*(of[name] for of in results.values()))
        axes.fill_between(list(results), lows, highs, color=color, alpha=0.15, linewidth=0)
        axes.plot(list(results), values, "o-", color=color, markersize=4, label=name)
    for axes, title in ((left, "M"), (right, "S")):
        axes.set_xscale("log", base=2)
        axes.set(title=title, xlabel="candidates")
        axes.set_xticks(list(results), labels=[str(number) for number in results])
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path)


def rate_all(rate, folders: Sequence[Path], jobs) -> dict[str, np.ndarray]:
    """A chooser's scores of every job's image in every folder, each [jobs,folders]."""
    from jiidm.data.images import load_image

    found = [[rate(load_image(folder / f"{job.stem}.jpg"), job) for folder in folders] for job in jobs]
    return {name: np.array([[scores[name] for scores in row] for row in found]) for name in ("M", "S")}


def main() -> None:
    parser = cli.experiment_parser(__doc__, count=16)
    parser.add_argument("--judge", type=Path, required=True, metavar="FILE", help="the segmenter that reports")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: the model that ships")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE", help="default: docs/img")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)

    from jiidm.config import load as configs
    from jiidm.evaluate import bootstrap, segmenter
    from jiidm.evaluate.chooser import Chooser
    from jiidm.experiments import held_out
    from jiidm.experiments import trials as experiment
    from jiidm.inference.scorecard import value
    from jiidm.model.files import SHIPPED, ModelFile
    from jiidm.report.tables import table

    chooser, judge = (Chooser(segmenter.load(path)) for path in (segmenter.SHIPPED, arguments.judge))
    file = ModelFile(arguments.checkpoint or SHIPPED)
    config = experiment.configure(file, configs.load_config(arguments.config))
    jobs = held_out.lay_out(arguments.out, arguments.count, config.data.size, None)
    seeds = range(max(NUMBERS))
    for seed in seeds:
        experiment.generate([experiment.Trial(f"seed_{seed}", file, config)], jobs, arguments.out, seed)
    folders = [arguments.out / f"seed_{seed}" for seed in seeds]
    chose, reported = rate_all(chooser, folders, jobs), rate_all(judge, folders, jobs)
    values = value(chose)
    scores = {"M, judge": reported["M"], "M, chooser": chose["M"], "S": chose["S"]}
    scores["value, judge"] = value(reported)

    def estimate(per_mask: np.ndarray) -> tuple[float, float, float]:
        return float(per_mask.mean()), *bootstrap.interval_of_mean(per_mask)

    kept = {n: {name: best_of(values, of, n) for name, of in scores.items()} for n in NUMBERS}
    results = {n: {name: estimate(of) for name, of in by_name.items()} for n, by_name in kept.items()}
    gains = {n: {name: estimate(of - kept[1][name]) for name, of in kept[n].items()} for n in NUMBERS[1:]}
    rows = [(str(n), *("{:.2f} [{:.2f}, {:.2f}]".format(*each) for each in of.values())) for n, of in results.items()]
    for n, of in gains.items():
        rows.append((f"{n} - 1", *(bootstrap.signed(gain, (low, high)) for gain, low, high in of.values())))
    print(f"chooser: {chooser.segmenter.name}; judge: {judge.segmenter.name}, {judge.segmenter.sha256[:12]}")
    print(f"{len(jobs)} masks; in brackets {100 * bootstrap.CONFIDENCE:.0f} % bootstrap intervals.\n")
    print(table(rows, ("candidates", *scores)))
    draw(results, arguments.picture)


if __name__ == "__main__":
    main()
