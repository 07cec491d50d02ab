"""Colour transfer class by class, against that of the whole image, against none: M, S, and colours within classes.

    python -m benchmarks.quality.region_color --out region_color

The rounds of a config that have colour transfer get `color_transfer: false`, `true` and `region`, on the same generated
masks, references and noise. The table has, with 95 % bootstrap intervals:

- M and S, as `jiidm score` gives them;
- the class distance: how far the mean Lab colour of each class in an image is from that of the same class in the
  reference, over the pixels of the classes that both have. Region transfer is made for this.

Differences are paired by mask. Images that are there already are kept, so an interrupted call goes on. The first masks
are drawn side by side.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from benchmarks.common import cli, jittor_side

CHOICES = {"false": False, "true": True, "region": "region"}
PICTURE = Path(__file__).parents[2] / "docs" / "img" / "region_color.jpg"


def class_distance(image: np.ndarray, mask: np.ndarray, reference: np.ndarray, reference_mask: np.ndarray) -> float:
    """Distance in Lab of the classes' mean colours, uint8 RGB [H,W,3] under masks [H,W] of one size.

    It is the mean over the image's pixels of classes that the reference has too. NaN where there are none.
    """
    import cv2

    ours, theirs = (cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for each in (image, reference))
    shared = np.intersect1d(mask, reference_mask)
    if not len(shared):
        return np.nan
    distances = [np.linalg.norm(ours[mask == c].mean(0) - theirs[reference_mask == c].mean(0)) for c in shared]
    return float(np.average(distances, weights=[(mask == c).sum() for c in shared]))


def trials(config, file) -> list:
    """A trial per choice, in the rounds that have colour transfer."""
    from jiidm.config import load as configs
    from jiidm.experiments.trials import Trial

    def with_choice(choice: bool | str):
        rounds = config.inference.rounds
        rounds = [dataclasses.replace(r, color_transfer=r.color_transfer and choice) for r in rounds]
        return configs.with_rounds(config, rounds, "region_color")

    return [Trial(name, file, with_choice(choice)) for name, choice in CHOICES.items()]


def class_distances(folder: Path, jobs) -> np.ndarray:
    """`class_distance` of each job's image, [N]."""
    from jiidm.data.images import load_image, load_mask
    from jiidm.data.references import own_mask

    found = []
    for job in jobs:
        ours = load_image(folder / f"{job.stem}.jpg"), load_mask(job.mask)
        found.append(class_distance(*ours, load_image(job.reference), load_mask(own_mask(job.reference))))
    return np.array(found)


def scores_of(tried, jobs, out: Path) -> dict[str, dict[str, np.ndarray]]:
    """M, S and class distance of every image [N], by trial and score."""
    from jiidm.evaluate.score import Evaluators
    from jiidm.experiments import held_out
    from jiidm.experiments.trials import score_trial

    evaluators, found = Evaluators.shipped(), {}
    for trial in tried:
        images = score_trial(trial.name, jobs, out, evaluators, out / held_out.FOLDER).card["images"].values()
        per_image = {score: np.array([image[score] for image in images]) for score in ("M", "S")}
        found[trial.name] = {**per_image, "class distance": class_distances(out / trial.name, jobs)}
    return found


def estimate(values: np.ndarray) -> str:
    """The mean, and its interval."""
    from jiidm.evaluate import bootstrap

    values = values[~np.isnan(values)]
    low, high = bootstrap.interval_of_mean(values)
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = cli.experiment_parser(__doc__, count=24)
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: the model that ships")
    parser.add_argument("--shown", type=int, default=6, metavar="N", help="masks of the picture (default: 6)")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE", help="default: docs/img")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)

    from jiidm.config import load as configs
    from jiidm.evaluate import bootstrap
    from jiidm.experiments import compare, held_out
    from jiidm.experiments import trials as experiment
    from jiidm.model.files import SHIPPED, ModelFile
    from jiidm.report.tables import table

    file = ModelFile(arguments.checkpoint or SHIPPED)
    config, out = experiment.configure(file, configs.load_config(arguments.config)), arguments.out
    jobs = held_out.lay_out(out, arguments.count, config.data.size, None)
    tried = trials(config, file)
    experiment.generate(tried, jobs, out, seed=0)
    scores = scores_of(tried, jobs, out)
    rows = [(name, *map(estimate, of.values())) for name, of in scores.items()]
    pairs = [("true", "false"), ("region", "true"), ("region", "false")]
    rows += [(f"{a} - {b}", *(estimate(scores[a][s] - scores[b][s]) for s in scores[a])) for a, b in pairs]
    print(f"{len(jobs)} masks; in brackets {100 * bootstrap.CONFIDENCE:.0f} % bootstrap intervals.\n")
    print(table(rows, ("color_transfer", *scores["true"])))
    compare.picture([out / trial.name for trial in tried], jobs[: arguments.shown], arguments.picture)


if __name__ == "__main__":
    main()
