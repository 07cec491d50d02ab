"""Validation as IIDM's: paint validation masks, take their Frechet distance to the photos, rank the checkpoints."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.data.identity import differing, sampling
from jiidm.data.images import load_image
from jiidm.data.pairs import Pair
from jiidm.errors import InputError
from jiidm.evaluate import inception
from jiidm.evaluate import segmenter as segformer
from jiidm.evaluate.metrics import frechet_distance, gaussian
from jiidm.evaluate.statistics import BATCH, Network
from jiidm.model.average import write_mean
from jiidm.model.files import Model
from jiidm.pipeline import PLAIN, Hooks, Input, Pipeline
from jiidm.seeding import generator
from ldm_jittor.files import atomic_path, read_json

LIST_FILE = "distances.json"
_COMPARED = {
    "score": "score",
    "network": "network",
    "images": "number of images",
    "sampling": "`inference` section",
}
"""What has to be equal for distances to compare, by their keys in the list."""


class Ranked(NamedTuple):
    distance: float
    step: int
    path: Path
    """Its model file, which only the best `keep_best` and the last still have."""


def checkpoint_path(folder: str | os.PathLike, step: int) -> Path:
    return Path(folder) / "checkpoints" / f"step_{step:08d}.safetensors"


def ranked(folder: str | os.PathLike) -> list[Ranked]:
    """The checkpoints of a training run whose distance was taken, best first; none where it took none.

    Raises InputError for a list that is damaged, or of distances that do not compare.
    """
    folder = Path(folder)
    entries = _read(folder)
    for entry in entries[1:]:
        _check_comparable(folder, entry, entries[0])
    return [Ranked(entry["distance"], entry["step"], checkpoint_path(folder, entry["step"])) for entry in entries]


def average_best(
    folder: Path,
    target: Path,
    weights: Sequence[float],
    config: Config | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write the mean of as many of the best checkpoints of a run as there are weights, and say of which.

    Raises InputError where the run has no list, a shorter one, or lacks a checkpoint; and as `write_mean` does.
    """
    path, count = folder / LIST_FILE, len(weights)
    if not path.is_file():
        raise InputError(f"{folder}: no {LIST_FILE}, which training with diffusion_training.distance_every writes")
    best = ranked(folder)[:count]
    if len(best) < count:
        raise InputError(f"{path}: {len(best)} checkpoints are listed, {count} were to be averaged")
    for entry in best:
        if not entry.path.is_file():
            raise InputError(f"{entry.path}: no such checkpoint, but {path} lists it among the best {count}")
    score = _read(folder)[0]["score"]
    notes = [{"step": entry.step, score: entry.distance} for entry in best]
    write_mean([entry.path for entry in best], target, weights, notes, config, provenance)
    terms = [f"{weight:.3g} x step {entry.step} ({score} {entry.distance:.4g})" for weight, entry in zip(weights, best)]
    print(f"{target}: {' + '.join(terms)}")


def load_network(inception_weights: Path | None) -> tuple[str, Network]:
    """Whose features are compared, and what the distance is called then: FID with the weights of Inception, else fd_seg
    with the segmenter that ships. Raises CheckpointError for a file of other weights."""
    if inception_weights is None:
        return "fd_seg", segformer.load()
    return "FID", inception.load(inception_weights)


class Validation:
    """Takes the distances of one training run and keeps their list, `folder`/distances.json.

    The first `distance_images` validation masks are painted, each in the style of another one's photo; noise and styles
    follow from the seed. Sampling is that of `--fast` where it applies. The images are compared with the same masks'
    own photos: against others, what few masks show by chance outweighs how they are painted, and hides the order.
    """

    def __init__(
        self,
        config: Config,
        pairs: Sequence[Pair],
        folder: Path,
        score: str,
        network: Network,
        hooks: Hooks = PLAIN,
    ):
        """pairs: two or more. hooks: those of `Pipeline.stream`."""
        self.config, self.folder, self.training = affordable(config), folder, config.diffusion_training
        self.score, self.network, self.hooks = score, network, hooks
        count = min(self.training.distance_images, len(pairs))
        self.pairs = pairs[:count]
        # a cycle through all in random order: nobody is its own reference
        order = generator(config.seed, "validation references").permutation(count)
        self.references = {int(i): int(j) for i, j in zip(order, np.roll(order, -1))}
        self.made_with = {
            "score": score,
            "network": network.sha256,
            "images": count,
            "sampling": _sampling_digest(self.config),
        }

    def describe(self) -> str:
        """What is measured, in one line."""
        counts = "+".join(str(spec.num_steps) for spec in self.config.inference.rounds)
        every, images = self.training.distance_every, len(self.pairs)
        return f"{self.score} every {every} steps, of {images} validation masks painted in {counts} sampling steps"

    def is_due(self, step: int) -> bool:
        """Whether a distance belongs to this step and has not been taken."""
        whole = step % self.training.distance_every == 0 or step == self.training.max_steps
        return step > 0 and whole and all(entry["step"] != step for entry in _read(self.folder))

    def resume(self, step: int) -> None:
        """Drop what a run that goes on at `step` will do again. Raises InputError where it will take distances that do
        not compare with those of the list."""
        entries = _read(self.folder)
        before = [entry for entry in entries if entry["step"] <= step]
        if before and (step < self.training.max_steps or self.is_due(step)):
            _check_comparable(self.folder, before[0], {"step": None, **self.made_with})
        if before != entries:
            _write(self.folder, before)

    def measure(self, model: Model, step: int, on_step: Callable[[], None]) -> float:
        """The distance of what `model` paints. `on_step` is called after every sampling step, and may raise."""
        pipeline = Pipeline(model._replace(config=self.config))
        inputs = [
            Input(pair.stem, pair.label, self.pairs[self.references[i]].image) for i, pair in enumerate(self.pairs)
        ]
        total, features = pipeline.num_steps(inputs), []
        with tqdm(total=total, desc=f"{self.score} at step {step}", unit="step", leave=False) as progress:

            def advance() -> None:
                progress.update()
                on_step()

            results = pipeline.stream(inputs, seed=self.config.seed, hooks=self.hooks, on_step=advance)
            while batch := list(itertools.islice(results, pipeline.batch_size)):
                features.append(self.network.features(np.stack([result.image for result in batch])))
        distance = frechet_distance(*gaussian(np.concatenate(features)), *self._reality)
        tqdm.write(f"step {step}: {self.score} {distance:.4g}")
        return distance

    def record(self, step: int, distance: float) -> None:
        """Put a step on the list and remove the checkpoints that are neither among the best nor the last."""
        others = [entry for entry in _read(self.folder) if entry["step"] != step]
        entries = _sorted([*others, {"step": step, "distance": distance, **self.made_with}])
        _write(self.folder, entries)
        for entry in entries[self.training.keep_best :]:
            if entry["step"] != step:
                checkpoint_path(self.folder, entry["step"]).unlink(missing_ok=True)

    @functools.cached_property
    def _reality(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the features of the masks' own photos, at the model's size."""
        features = []
        for start in range(0, len(self.pairs), BATCH):
            photos = [load_image(pair.image, self.config.data.size) for pair in self.pairs[start : start + BATCH]]
            features.append(self.network.features(np.stack(photos)))
        return gaussian(np.concatenate(features))


def affordable(config: Config) -> Config:
    """The config under `--fast`, or as it is where that saves nothing or cannot follow."""
    try:
        return configs.fast(config)
    except InputError:
        return config


def _sampling_digest(config: Config) -> str:
    """Of all settings that decide what is painted."""
    settings = sampling(config)
    settings.pop("jpeg_quality")  # no file is written
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _check_comparable(folder: Path, entry: dict[str, Any], other: dict[str, Any]) -> None:
    """Raises InputError where two entries were made otherwise; one without step is what a run is about to do."""
    before, now = ({meaning: str(made[key])[:12] for key, meaning in _COMPARED.items()} for made in (entry, other))
    found = differing(before, now)
    if found:
        steps = f"step {entry['step']} and {'now' if other['step'] is None else other['step']}"
        told = f"{folder / LIST_FILE}: the distances of {steps} do not compare, made with {found[0]}"
        raise InputError(f"{told}; moved away, it starts anew" if other["step"] is None else told)


def _sorted(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(entries, key=lambda entry: (entry["distance"], entry["step"]))


def _read(folder: Path) -> list[dict[str, Any]]:
    """The list, best first; empty where there is none. Raises InputError for a file that is no such list."""
    path = folder / LIST_FILE
    try:
        entries = read_json(path)
        kinds = {"step": int, "distance": (int, float), "score": str, "network": str, "images": int, "sampling": str}
        if not all(isinstance(entry[key], kind) for entry in entries for key, kind in kinds.items()):
            raise ValueError("a value of another type")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not a list of distances ({error})") from None
    return _sorted(entries)


def _write(folder: Path, entries: list[dict[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    with atomic_path(folder / LIST_FILE) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
