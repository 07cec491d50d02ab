"""Choose the bounds on predicted latents for the row DM of Table 2, on masks that no table shows.

    python -m benchmarks.quality.bounds --out bounds              DM: one chain from pure noise
    python -m benchmarks.quality.bounds --out bounds --rounds     the config's own rounds, which start from references

Each choice generates the same landscapes, whose seed is neither that of a training set nor that of the held-out masks.
The table has, with 95 % bootstrap intervals:

- M and S, as `jiidm score` gives them;
- the saturated share: colour values of the images within 2 of 0 or of 255, in percent;
- fd_latent: the Frechet distance of the images' latents from those of the masks' photos, over the mean and the standard
  deviation of each channel in each quarter of an image.

The smallest fd_latent chooses. It comes from the model's own autoencoder, so the segmenter that scores M has no part in
the choice. Images that are there already are kept, so an interrupted call goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import cli, jittor_side

SEED = 2025
EDGE = 2
CHOICES: dict[str, dict[str, Any]] = {
    "none": {},
    "clip 1.5": {"clip_x0": 1.5},
    "clip 2": {"clip_x0": 2.0},
    "clip 2.5": {"clip_x0": 2.5},
    "clip 3": {"clip_x0": 3.0},
    "clip 4": {"clip_x0": 4.0},
    "dynamic 0.9, range 2": {"clip_x0": 2.0, "dynamic_thresholding_ratio": 0.9},
    "dynamic 0.99, range 2": {"clip_x0": 2.0, "dynamic_thresholding_ratio": 0.99},
    "dynamic 0.995, range 2": {"clip_x0": 2.0, "dynamic_thresholding_ratio": 0.995},
    "dynamic 0.995, range 3": {"clip_x0": 3.0, "dynamic_thresholding_ratio": 0.995},
    "rescale 0.7": {"guidance_rescale": 0.7},
    "rescale 0.7, clip 2": {"guidance_rescale": 0.7, "clip_x0": 2.0},
    "rescale 0.7, clip 2.5": {"guidance_rescale": 0.7, "clip_x0": 2.5},
}
FOR_ROUNDS = ("none", "clip 1.5", "clip 2", "dynamic 0.9, range 2")


class Estimate(NamedTuple):
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def saturated_share(image: np.ndarray) -> float:
    """Percent of an image's colour values, uint8 [H,W,3], within `EDGE` of either end."""
    return 100 * float(((image <= EDGE) | (image >= 255 - EDGE)).mean())


def latent_features(latents: np.ndarray) -> np.ndarray:
    """Mean and standard deviation of each channel in each quarter of latents [B,C,h,w]: [B,8C]."""
    half_height, half_width = (side // 2 for side in latents.shape[2:])
    quarters = [
        latents[:, :, rows, columns]
        for rows in (slice(half_height), slice(half_height, None))
        for columns in (slice(half_width), slice(half_width, None))
    ]
    statistics = [getattr(quarter, name)(axis=(2, 3)) for quarter in quarters for name in ("mean", "std")]
    return np.concatenate(statistics, axis=1).astype(np.float64)


def trials(config, file, with_rounds: bool) -> list:
    """A trial per choice: DM's round under it, or all rounds of the config."""
    from jiidm.config import load as configs
    from jiidm.experiments import ablation
    from jiidm.experiments.trials import Trial

    def bounded(settings: dict[str, Any]):
        base = config if with_rounds else ablation.diffusion_alone(config)
        plain = {"clip_x0": None, "dynamic_thresholding_ratio": None, "guidance_rescale": 0.0}
        rounds = [dataclasses.replace(round_, **plain | settings) for round_ in base.inference.rounds]
        return configs.with_rounds(base, rounds, "bounds")

    names = FOR_ROUNDS if with_rounds else CHOICES
    return [Trial(name, file, bounded(CHOICES[name]), from_noise=not with_rounds) for name in names]


def encode(model, paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """`latent_features` [N,8C] and `saturated_share` [N] of image files."""
    import jittor as jt

    from jiidm.data.images import load_image
    from ldm_jittor.pixels import to_model

    features, shares = [], []
    with jt.no_grad():
        for path in paths:
            image = load_image(path, model.config.data.size)
            features.append(latent_features(model.space.encode(to_model([image])).numpy()))
            shares.append(saturated_share(image))
    return np.concatenate(features), np.array(shares)


def main() -> None:
    parser = cli.experiment_parser(__doc__, count=96)
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: the model that ships")
    parser.add_argument("--rounds", action="store_true", help="the config's own rounds, in place of DM's")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)

    from jiidm.config import load as configs
    from jiidm.data.pairs import find_pairs
    from jiidm.data.synthetic.dataset import write_dataset
    from jiidm.evaluate import bootstrap, metrics
    from jiidm.evaluate.score import Evaluators
    from jiidm.experiments import held_out
    from jiidm.experiments import trials as experiment
    from jiidm.model.files import SHIPPED, ModelFile
    from jiidm.report.tables import table

    file = ModelFile(arguments.checkpoint or SHIPPED)
    config = experiment.configure(file, configs.load_config(arguments.config))
    out = arguments.out / ("rounds" if arguments.rounds else "from_noise")
    write_dataset(arguments.out / "landscapes", arguments.count, config.data.size, seed=SEED)
    jobs = held_out.lay_out(out, arguments.count, config.data.size, find_pairs(arguments.out / "landscapes"))
    tried = trials(config, file, arguments.rounds)
    experiment.generate(tried, jobs, out, seed=0)

    evaluators = Evaluators.shipped()
    model, chosen = file.load(config), bootstrap.resamples(len(jobs))
    photos, photo_shares = encode(model, [pair.image for pair in find_pairs(out / held_out.FOLDER)])
    reality = metrics.gaussian(photos)

    def estimate(value: float, draws: np.ndarray, least: float = -np.inf) -> Estimate:
        return Estimate(value, *bootstrap.interval(value, draws, least))

    rows, distances = [], {}
    for trial in tried:
        result = experiment.score_trial(trial.name, jobs, out, evaluators, out / held_out.FOLDER)
        features, shares = encode(model, [out / trial.name / f"{job.stem}.jpg" for job in jobs])
        distance = metrics.frechet_distance(*metrics.gaussian(features), *reality)
        distances[trial.name] = distance
        share = estimate(shares.mean(), bootstrap.means(shares, chosen))
        latent = estimate(distance, bootstrap.distances(features, reality, chosen), 0.0)
        rows.append((trial.name, result.cell("M"), result.cell("S"), share, latent))
    rows.append(("the photos", "", "", estimate(photo_shares.mean(), bootstrap.means(photo_shares, chosen)), ""))
    print(f"{len(jobs)} masks; in brackets {100 * bootstrap.CONFIDENCE:.0f} % bootstrap intervals.\n")
    print(table(rows, ("bound", "M", "S", "saturated, %", "fd_latent")))
    print(f"\nchosen, by the smallest fd_latent: {min(distances, key=lambda name: distances[name])}")


if __name__ == "__main__":
    main()
