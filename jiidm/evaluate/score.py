"""From an output folder to its score card: the evaluators run over the images, batch after batch."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jiidm.data.images import load_image, load_mask
from jiidm.data.prefetch import load_ahead
from jiidm.errors import InputError
from jiidm.evaluate import inception, metrics, segmenter, statistics
from jiidm.evaluate.findings import FindingParts, Findings
from jiidm.evaluate.laion import Laion
from jiidm.evaluate.nima import Aesthetic
from jiidm.evaluate.segmenter import Segmenter
from jiidm.evaluate.statistics import BATCH, Network, Reality
from jiidm.inference import scorecard
from jiidm.inference.folder import OutputFolder
from jiidm.inference.inputs import Job
from jiidm.size import Size
from jiidm.system.progress import StepBar
from jiidm.system.shards import Shard
from jiidm.system.threads import follow_load


@dataclass(frozen=True)
class Evaluators:
    """The networks that score. `fd_network` gives the features for the Frechet distance `fd_name`, FID or fd_seg."""

    segmenter: Segmenter
    fd_network: Network
    fd_name: str
    aesthetic: Aesthetic | Laion | None = None

    @classmethod
    def shipped(cls) -> Evaluators:
        """Those without other files: the segmenter that ships scores M, and its features give fd_seg."""
        network = segmenter.load(segmenter.SHIPPED)
        return cls(network, network, "fd_seg")


class _Batch(NamedTuple):
    stems: list[str]
    images: np.ndarray  # uint8 [N,H,W,3]
    masks: np.ndarray  # uint8 [N,H,W]
    similarities: list[float]


class Examined(NamedTuple):
    """A score card, and what it came from. Features and reality are None without real photos."""

    card: dict[str, Any]
    features: np.ndarray | None
    """[N,D], a row per image in the order of card["images"]."""
    reality: Reality | None
    found: Findings
    photos: Sequence[Path]
    """The real ones, a row of `reality.features` each."""


def load_fd_network(inception_weights: Path | None, resize: str = "pytorch-fid") -> tuple[str, Network]:
    """The name of a Frechet distance, and the network whose features it compares.

    It is FID with the weights of Inception, else fd_seg with the segmenter that ships, whichever segmenter scores M:
    distances by other features do not compare. resize: how images reach Inception's size. Raises CheckpointError for a
    file of other weights.
    """
    if inception_weights is None:
        return "fd_seg", segmenter.load(segmenter.SHIPPED)
    return "FID", inception.load(inception_weights, resize)


def examine(out: str | os.PathLike, jobs: Sequence[Job], evaluators: Evaluators, real: Path | None) -> Examined:
    """Score the outputs of `jobs`, in which `OutputFolder.faults` has found none.

    real: the folder of real photos; without it there is no Frechet distance. Raises InputError where that distance
    cannot be taken: fewer than two images on a side, or images of unequal sizes.
    """
    batches = _cut(jobs)
    photos = statistics.find_photos(real) if real else []
    reality = _reality(photos, batches, evaluators)
    found = _run(Path(out), batches, evaluators, with_features=bool(photos))
    return _examined(out, jobs, evaluators, photos, reality, found)


def examine_shard(
    out: str | os.PathLike, jobs: Sequence[Job], evaluators: Evaluators, real: Path | None, shard: Shard
) -> Examined | None:
    """`examine`, for a part of the images. Returns None as long as other parts are missing.

    `out`/_run/scores_parts keeps what is found, and the part's share of the real photos' features. A part that is kept
    there, for the same images, photos and networks, is not scored again. The shard that comes last returns what
    `examine` would.
    """
    batches = _cut(jobs)
    photos = statistics.find_photos(real) if real else []
    parts = FindingParts(Path(out), batches, _made_with(evaluators, photos), shard.count, bool(photos))
    given = evaluators.fd_network, parts.folder, shard.count
    photo_parts = statistics.PhotoParts(photos, _common_size(batches), *given) if photos else None
    if photo_parts:
        photo_parts.add(shard.number)
    if parts.load(shard.number) is None:
        parts.save(shard.number, _run(Path(out), parts.own(shard.number), evaluators, with_features=bool(photos)))
    found, reality = parts.joined(), photo_parts.joined() if photo_parts else None
    if found is None or photos and reality is None:
        return None
    return _examined(out, jobs, evaluators, photos, reality, found)


def _reality(photos: Sequence[Path], batches: Sequence[Sequence[Job]], evaluators: Evaluators) -> Reality | None:
    if not photos:
        return None
    return statistics.photo_features(photos, _common_size(batches), evaluators.fd_network)


def _examined(
    out: str | os.PathLike,
    jobs: Sequence[Job],
    evaluators: Evaluators,
    photos: Sequence[Path],
    reality: Reality | None,
    found: Findings,
) -> Examined:
    scores, features, warnings = found.overall(), None, []
    if reality:
        features = np.concatenate(found.features)[np.argsort(list(found.images))]
        mu, sigma = metrics.gaussian(features)
        scores[evaluators.fd_name] = metrics.frechet_distance(mu, sigma, reality.mu, reality.sigma)
        warnings = _doubts(min(len(found.images), len(photos)), len(mu), evaluators.fd_name)
    warnings += _partialities(Path(out), evaluators)
    if {"M", "A", "FID", "S"} <= scores.keys():
        scores["T"] = metrics.total_score(scores["M"], scores["A"], scores["FID"], scores["S"])
    card = {
        "scores": _rounded(scores),
        "units": scorecard.UNITS,
        "absent": _absent(scores, bool(photos)),
        "warnings": warnings,
        "made_with": _made_with(evaluators, photos),
        "inputs": {"sha256": _digest(jobs)},
        "outputs": {"count": len(found.images), "sha256": scorecard.digest(out, found.images)},
        "images": {stem: _rounded(found.images[stem]) for stem in sorted(found.images)},
    }
    return Examined(card, features, reality, found, photos)


def _digest(jobs: Sequence[Job]) -> str:
    """One SHA-256 over the masks and references that the images were scored by."""
    inputs = sorted([job.stem, *job.made_from[:2]] for job in jobs)
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _cut(jobs: Sequence[Job]) -> list[list[Job]]:
    """Batches of images of one size each."""
    by_size = itertools.groupby(sorted(jobs, key=lambda job: job.size), lambda job: job.size)
    groups = [list(group) for _, group in by_size]
    return [group[i : i + BATCH] for group in groups for i in range(0, len(group), BATCH)]


def _common_size(batches: Sequence[Sequence[Job]]) -> Size:
    first, last = batches[0][0], batches[-1][-1]
    if first is last:
        raise InputError(f"{first.mask}: the only mask; a Frechet distance needs at least 2 outputs")
    if first.size != last.size:
        raise InputError(
            f"{first.mask} and {last.mask} are of unequal sizes; a Frechet distance needs outputs of one size"
        )
    return first.size


def _run(out: Path, batches: Sequence[Sequence[Job]], evaluators: Evaluators, with_features: bool) -> Findings:
    found = Findings()
    with StepBar(total=sum(map(len, batches)), desc="scoring", unit="image") as progress:
        for _, batch in load_ahead(lambda step: _load(out, batches[step]), range(len(batches))):
            follow_load()
            predictions = evaluators.segmenter.predict(batch.images)
            for stem, mask, prediction, similarity in zip(batch.stems, batch.masks, predictions, batch.similarities):
                accuracy = metrics.pixel_accuracy(prediction, mask)
                found.images[stem] = {"M": 100 * accuracy, "S": 100 * similarity}
                found.pixels.append(mask.size)
                found.confusions.append(metrics.confusion(prediction, mask))
            if evaluators.aesthetic:
                for stem, beauty in zip(batch.stems, evaluators.aesthetic.scores(batch.images)):
                    found.images[stem]["A"] = 100 * float(beauty)
            if with_features:
                found.features.append(evaluators.fd_network.features(batch.images))
            progress.update(len(batch.stems))
    return found


def _load(out: Path, jobs: Sequence[Job]) -> _Batch:
    images = [load_image(out / f"{job.stem}.jpg") for job in jobs]
    similarities = [metrics.color_similarity(image, load_image(job.reference)) for image, job in zip(images, jobs)]
    masks = [load_mask(job.mask) for job in jobs]
    return _Batch([job.stem for job in jobs], np.stack(images), np.stack(masks), similarities)


def _doubts(count: int, dimensions: int, name: str) -> list[str]:
    """Warn of a distance of too few images: their covariance is singular, and the distance too large."""
    if count > dimensions:
        return []
    return [f"{name} of {count} images is unreliable: {dimensions} features need more than {dimensions} images"]


def _partialities(out: Path, evaluators: Evaluators) -> list[str]:
    """Warn of scores by networks that chose these images among candidates."""
    candidates = OutputFolder(out).made_by().get("candidates", {})
    networks = {"M": ("segmenter", evaluators.segmenter), "A": ("aesthetic", evaluators.aesthetic)}
    return [
        f"{score} is too high: {network.name} chose each image among {candidates['count']} candidates; "
        f"another network has to report (--{role})"
        for score, (role, network) in networks.items()
        if network and network.sha256 == candidates.get("chooser", {}).get(role, {}).get("sha256")
    ]


def _absent(scores: dict[str, float], has_photos: bool) -> dict[str, str]:
    """Why each missing score is absent."""
    reasons = {
        "A": "no weights of an aesthetic network were given (--aesthetic)",
        "FID": "no weights of the Inception network were given (--inception)" if has_photos else "no --real photos",
        "T": f"needs {', '.join(key for key in ('M', 'A', 'FID', 'S') if key not in scores)}",
    }
    return {key: reason for key, reason in reasons.items() if key not in scores}


def _made_with(evaluators: Evaluators, photos: Sequence[Path]) -> dict[str, Any]:
    used: dict[str, Any] = {"histogram": metrics.HISTOGRAM, "segmenter": identity(evaluators.segmenter)}
    if evaluators.segmenter.mapping:
        used["segmenter"]["mapping"] = evaluators.segmenter.mapping.record()
    if evaluators.aesthetic:
        used["aesthetic"] = identity(evaluators.aesthetic)
    if photos:
        used["distance"] = {
            "score": evaluators.fd_name,
            "network": identity(evaluators.fd_network),
            "real_photos": {
                "folder": str(photos[0].parent),
                "count": len(photos),
                "sha256": statistics.list_digest(photos),
            },
        }
    return used


def identity(network: Any) -> dict[str, Any]:
    """What a card keeps of a network that scores."""
    return {"name": network.name, "sha256": network.sha256, "preprocessing": network.preprocessing}


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in scores.items()}
