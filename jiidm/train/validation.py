"""Validation: images from validation masks, to look at, and to take their Frechet distance to the photos."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jiidm.classes import colorize
from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.data.identity import sampling
from jiidm.data.images import load_image
from jiidm.data.pairs import Pair, pair_references
from jiidm.data.references import next_of_each
from jiidm.errors import InputError
from jiidm.evaluate.metrics import frechet_distance, gaussian
from jiidm.evaluate.score import load_fd_network
from jiidm.evaluate.statistics import BATCH, Network
from jiidm.inference.infer import CAPTIONS, CAPTIONS_WITH_START, Generates
from jiidm.pipeline import Input
from jiidm.report.sheets import contact_sheet
from jiidm.seeding import generator
from jiidm.system import ranks
from jiidm.train.checkpoints import check_comparable, forget_distances_after, read_distances, record_distance
from jiidm.train.networks import Used

logger = logging.getLogger(__name__)

SAMPLE_ROWS = 4


def sample_sheet(
    train: Sequence[Pair],
    validation: Sequence[Pair],
    pipeline: Generates,
    picture: Path,
    on_step: Callable[[], None],
    **options: Any,
) -> None:
    """Generate images from the first validation masks in the styles of training photos, and lay them out in `picture`.

    `on_step` is called after every sampling step, and may raise. `options` are further ones of the pipeline's `stream`.
    """
    config, shown = pipeline.config, validation[:SAMPLE_ROWS]
    photos = {pair.image.name: pair.image for pair in train}
    references = pair_references(list(train), list(validation), config.seed)
    inputs = [Input(pair.stem, pair.label, photos[references[pair.label.name]]) for pair in shown]
    names = {pair.stem for pair in shown}
    results = pipeline.stream(inputs, seed=config.seed, show_starts=names, on_step=lambda _: on_step(), **options)
    rows = []
    for pair, result in zip(shown, results):
        starts = [] if result.start is None else [result.start]
        photo = load_image(pair.image, config.data.size)
        rows.append([result.reference, colorize(result.mask), *starts, result.image, photo])
    picture.parent.mkdir(exist_ok=True)
    captions = CAPTIONS if config.is_gan else CAPTIONS_WITH_START
    contact_sheet(rows, picture, [*captions, "mask's own photo"])


class Validation:
    """Takes the distances of one training run and keeps their list, `folder`/distances.json.

    The first `distance_images` validation masks become images, each in the style of another one's photo. Noise and
    styles follow from the seed. Sampling is that of `--fast` where it applies. The images are compared with the same
    masks' own photos. Against other photos, what few masks show by chance would outweigh the quality of the images, and
    hide the order.
    """

    def __init__(
        self,
        config: Config,
        pairs: Sequence[Pair],
        folder: Path,
        score: str,
        network: Network,
        **options: Any,
    ):
        """pairs: two or more. options: further ones of the pipeline's `stream`."""
        self.config, self.folder, self.training = affordable(config), folder, config.main_training
        self.score, self.network, self.options = score, network, options
        self.every = self.training.distance_every or self.training.max_steps
        count = min(self.training.distance_images, len(pairs))
        self.pairs = pairs[:count]
        order = generator(config.seed, "validation references").permutation(count)
        self.references = next_of_each(order.tolist())
        self.used = Used("validation", network.name, network.sha256)
        self.made_with = {
            "score": score,
            "network": network.sha256,
            "images": count,
            "sampling": _sampling_digest(self.config),
        }

    def describe(self) -> str:
        """The measurement in one line."""
        measured = f"{self.score} every {self.every} steps, of {len(self.pairs)} validation masks"
        if self.config.is_gan:
            return measured
        counts = "+".join(str(round_.num_steps) for round_ in self.config.inference.rounds)
        return f"{measured} in {counts} sampling steps"

    def is_due(self, step: int) -> bool:
        """Whether a distance belongs to this step."""
        return step > 0 and (step % self.every == 0 or step == self.training.max_steps)

    def taken(self, step: int) -> float | None:
        """The distance of a step by the list."""
        return next((entry["distance"] for entry in read_distances(self.folder) if entry["step"] == step), None)

    def require_comparable(self, step: int) -> None:
        """Raises InputError where a run that goes on at `step` will take other distances than those of the list."""
        kept = [entry for entry in read_distances(self.folder) if entry["step"] <= step]
        goes_on = step < self.training.max_steps or self.is_due(step) and self.taken(step) is None
        if kept and goes_on:
            check_comparable(self.folder, kept[0], self.made_with)

    def resume(self, step: int) -> None:
        """Drop what a run that goes on at `step` will do again. Raises as `require_comparable` does."""
        self.require_comparable(step)
        forget_distances_after(self.folder, step)

    def take(self, pipeline: Generates, step: int, on_step: Callable[[], None]) -> float:
        """Measure the distance of a step's model and put it on the list, unless it is there.

        All ranks do this together. Others than 0 may get NaN.
        """
        taken = self.taken(step)
        if ranks.from_first(taken is not None):
            return math.nan if taken is None else taken
        distance = self.measure(pipeline, step, on_step)
        if not ranks.is_first():
            return distance
        record_distance(self.folder, {"step": step, "distance": distance, **self.made_with}, self.training.keep_best)
        logger.info("step %d: %s %.4g", step, self.score, distance)
        return distance

    def measure(self, pipeline: Generates, step: int, on_step: Callable[[], None]) -> float:
        """The distance of the images that a pipeline with `self.config` generates, a part of them on each rank.

        `on_step` is called after each sampling step, and may raise. Ranks other than 0 get NaN.
        """
        inputs = [
            Input(pair.stem, pair.label, self.pairs[self.references[i]].image) for i, pair in enumerate(self.pairs)
        ]
        reality = self._reality
        own = ranks.shard().of(inputs) or inputs[:1]
        total, features = pipeline.num_passes(own), []
        with tqdm(total=total, desc=f"{self.score} at step {step}", unit="pass", leave=False) as progress:

            def advance(passes: int) -> None:
                progress.update(passes)
                on_step()

            results = pipeline.stream(own, seed=self.config.seed, on_step=advance, **self.options)
            while batch := list(itertools.islice(results, pipeline.batch_size)):
                features.append(self.network.features(np.stack([result.image for result in batch])))
        found = ranks.interleave(np.concatenate(features), len(inputs))
        return frechet_distance(*gaussian(found), *reality) if ranks.is_first() else math.nan

    @functools.cached_property
    def _reality(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the features of the masks' own photos, at the model's size. Each rank sees a part."""
        own, features = ranks.shard().of(self.pairs) or self.pairs[:1], []
        for start in range(0, len(own), BATCH):
            photos = [load_image(pair.image, self.config.data.size) for pair in own[start : start + BATCH]]
            features.append(self.network.features(np.stack(photos)))
        return gaussian(ranks.interleave(np.concatenate(features), len(self.pairs)))


def network_for(config: Config, inception_file: Path | None) -> tuple[str, Network] | None:
    """The name and the network of the distance that training takes, if it takes any. Raises InputError for weights that
    would not be used.
    """
    if config.main_training.distance_every:
        return load_fd_network(inception_file)
    if inception_file:
        section = "gan_training" if config.is_gan else "diffusion_training"
        raise InputError(f"{inception_file}: no distance is taken; set {section}.distance_every")
    return None


def distances_of(
    config: Config, pairs: Sequence[Pair], folder: Path, network: tuple[str, Network] | None, **options: Any
) -> Validation | None:
    """The measurement of a run that takes distances and has the pairs for it. It says what it will measure."""
    if network is None:
        return None
    if len(pairs) < 2:
        logger.info("validation: no distance to the photos is taken of a single image")
        return None
    distances = Validation(config, pairs, folder, *network, **options)
    logger.info("validation: %s", distances.describe())
    return distances


def affordable(config: Config) -> Config:
    """The config under `--fast`, or as it is where that saves nothing or does not apply."""
    try:
        return configs.fast(config)
    except InputError:
        return config


def _sampling_digest(config: Config) -> str:
    """A digest of all settings that decide the images."""
    if config.is_gan:
        settings: dict[str, Any] = {"sample_style": config.gan.sample_style}
    else:
        settings = sampling(config)
        settings.pop("jpeg_quality")  # no file is written
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
