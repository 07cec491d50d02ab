"""What `ablate`, `sweep` and `table1` share: ways to generate from the same masks, which the same networks score."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jiidm.baselines.model import load_gan
from jiidm.baselines.pipeline import GANPipeline
from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.data.identity import made_by
from jiidm.errors import InputError
from jiidm.evaluate import bootstrap, segmenter
from jiidm.evaluate.metrics import total_score
from jiidm.evaluate.score import Evaluators, examine
from jiidm.experiments.released import hooks_for
from jiidm.inference import scorecard
from jiidm.inference.folder import OutputFolder
from jiidm.inference.infer import Generates, generate_images
from jiidm.inference.inputs import Job, with_reference_masks
from jiidm.model.files import ModelFile, sha256
from jiidm.pipeline import Pipeline

logger = logging.getLogger(__name__)


class Trial(NamedTuple):
    """One way to generate images, and the name of its output folder."""

    name: str
    model: ModelFile
    config: Config
    from_noise: bool = False

    def load_pipeline(self) -> Generates:
        if self.config.is_gan:
            return GANPipeline(load_gan(self.model, self.config))
        return Pipeline(self.model.load(self.config), segmenter.load)

    @property
    def options(self) -> dict[str, Any]:
        """What the pipeline's `stream` takes besides."""
        return {} if self.config.is_gan else {"hooks": hooks_for(self.config), "from_noise": self.from_noise}


class Result(NamedTuple):
    """The scores of a trial's images, and those of resamples of them."""

    name: str
    card: dict[str, Any]
    draws: dict[str, np.ndarray]
    """For each score its values in the `bootstrap.RESAMPLES` resamples. They pair with those of any other trial."""

    @property
    def scores(self) -> dict[str, float]:
        return self.card["scores"]

    def interval(self, score: str) -> tuple[float, float]:
        least = 0.0 if score in ("FID", "fd_seg") else -np.inf
        return bootstrap.interval(self.scores[score], self.draws[score], least)

    def cell(self, score: str) -> str:
        """A score with its interval, as a table shows it."""
        if score not in self.scores:
            return "-"
        low, high = self.interval(score)
        return f"{self.scores[score]:.2f} [{low:.2f}, {high:.2f}]"

    def as_json(self) -> dict[str, Any]:
        return {"scores": self.scores, "intervals": {score: self.interval(score) for score in self.scores}}


def configure(model: ModelFile, given: Config) -> Config:
    """The config in a model file, with the rounds and everything else of `given.inference` and `given.released`.

    Raises InputError where `given` describes another model, and as `ModelFile.config` does.
    """
    model.require_diffusion()
    stored = model.config
    for key, mine, theirs in (
        ("schedule", stored.schedule, given.schedule),
        ("unet", stored.unet, given.unet),
        ("data.size", stored.data.size, given.data.size),
    ):
        if mine != theirs:
            raise InputError(f"{model.path}: a model of another {key} than the config {given.name}")
    sampling = {"inference": configs.to_dict(given.inference), "released": configs.to_dict(given.released)}
    return configs.from_dict(configs.to_dict(stored) | sampling, given.name)


def generate(
    trials: Sequence[Trial],
    jobs: Sequence[Job],
    out: Path,
    seed: int,
    wrap: Callable[[Trial, Generates], Generates] = lambda trial, pipeline: pipeline,
) -> None:
    """Generate every missing image of every trial in `out`/<its name>, an ordinary output folder.

    wrap: what generates in a trial's pipeline's place.
    Raises InputError, before anything is generated, where a folder holds images that were made otherwise.
    """
    identities = [identity_of(trial, seed) for trial in trials]
    folders = [OutputFolder(out / trial.name) for trial in trials]
    inputs = [_inputs_of(trial, jobs) for trial in trials]
    for folder, identity, own in zip(folders, identities, inputs):
        folder.claim(identity, own)
    for trial, folder, identity, own in zip(trials, folders, identities, inputs):
        logger.info("%s:", trial.name)
        generate_images(
            folder,
            own,
            functools.partial(_load, trial, wrap),
            trial.model.path,
            identity,
            seed=seed,
            **trial.options,
        )


def _load(trial: Trial, wrap: Callable[[Trial, Generates], Generates]) -> Generates:
    return wrap(trial, trial.load_pipeline())


def _inputs_of(trial: Trial, jobs: Sequence[Job]) -> Sequence[Job]:
    """The jobs, with the references' masks where they matter."""
    return with_reference_masks(jobs, sha256(segmenter.SHIPPED)) if trial.config.uses_reference_masks else jobs


def identity_of(trial: Trial, seed: int) -> dict[str, Any]:
    return made_by(trial.model.sha256, trial.config, seed, trial.from_noise)


def score_trial(name: str, jobs: Sequence[Job], out: Path, evaluators: Evaluators, real: Path) -> Result:
    """Score `out`/`name`, save its score card as `jiidm score` does, and resample. Raises as `examine`."""
    examined = examine(out / name, jobs, evaluators, real)
    card = examined.card
    assert examined.features is not None and examined.reality is not None, "there are real photos"
    scorecard.save(out / name, card)
    chosen = bootstrap.resamples(len(jobs))
    images = list(card["images"].values())
    draws = {score: bootstrap.means(np.array([image[score] for image in images]), chosen) for score in images[0]}
    distances = bootstrap.distances(examined.features, examined.reality[1:], chosen)
    # repeated images make every draw larger than the estimate, see bootstrap.interval; T would be clipped for it
    bias = distances.mean() - card["scores"][evaluators.fd_name]
    draws[evaluators.fd_name] = (distances - bias).clip(0)
    if "T" in card["scores"]:
        draws["T"] = np.array([total_score(*row) for row in zip(*(draws[key] for key in ("M", "A", "FID", "S")))])
    return Result(name, card, draws)
