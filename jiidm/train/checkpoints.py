"""The models that a training run keeps on its way, and the list that ranks them by distance."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jiidm.config.schema import Config
from jiidm.data.identity import differing, same_weights
from jiidm.errors import InputError
from jiidm.model.average import write_mean
from jiidm.train.sealed import seal, unseal
from ldm_jittor.files import atomic_path, read_json

logger = logging.getLogger(__name__)

LIST_FILE = "distances.json"
_COMPARED = {
    "score": "score",
    "network": "network",
    "images": "number of images",
    "sampling": "`inference` section",
}
"""Everything that has to be equal for distances to compare, by its key in the list."""
_KINDS: dict[str, type | tuple[type, ...]] = {
    "step": int,
    "distance": (int, float),
    "score": str,
    "network": str,
    "images": int,
    "sampling": str,
}

Entry = dict[str, Any]
"""One line of the list, with the keys of `_KINDS`."""


class Ranked(NamedTuple):
    distance: float
    step: int
    path: Path
    """Its model file. Only the best `keep_best` and the last still have one."""


def samples_path(folder: str | os.PathLike, step: int) -> Path:
    """The picture of the images that a run shows of a step."""
    return Path(folder) / "samples" / f"step_{step:08d}.png"


def checkpoint_path(folder: str | os.PathLike, step: int) -> Path:
    """The file of the model that a run keeps of a step."""
    return Path(folder) / "checkpoints" / f"step_{step:08d}.safetensors"


def ranked(folder: str | os.PathLike) -> list[Ranked]:
    """The checkpoints of a training run whose distance was taken, best first; none where it took none.

    Raises InputError for a list that is damaged, and for one whose distances do not compare.
    """
    folder = Path(folder)
    entries = read_distances(folder)
    for entry in entries[1:]:
        check_comparable(folder, entry, entries[0])
    return [Ranked(entry["distance"], entry["step"], checkpoint_path(folder, entry["step"])) for entry in entries]


def average_best(
    folder: Path,
    target: Path,
    weights: Sequence[float],
    config: Config | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write the mean of the best checkpoints of a run, as many as there are weights, and say which they are.

    Raises InputError where the run has no list, a shorter one, or lacks a checkpoint, and as `write_mean` does.
    """
    path, count = folder / LIST_FILE, len(weights)
    if not path.is_file():
        raise InputError(f"{folder}: no {LIST_FILE}, which training with distance_every writes")
    best = ranked(folder)[:count]
    if len(best) < count:
        raise InputError(f"{path}: {len(best)} checkpoints are listed, {count} were to be averaged")
    for entry in best:
        if not entry.path.is_file():
            raise InputError(f"{entry.path}: no such checkpoint, but {path} lists it among the best {count}")
    score = read_distances(folder)[0]["score"]
    notes = [{"step": entry.step, score: entry.distance} for entry in best]
    write_mean([entry.path for entry in best], target, weights, notes, config, provenance)
    terms = [f"{weight:.3g} x step {entry.step} ({score} {entry.distance:.4g})" for weight, entry in zip(weights, best)]
    logger.info("%s: %s", target, " + ".join(terms))


def record_distance(folder: Path, entry: Entry, keep_best: int) -> None:
    """Put a step on the list. Remove the checkpoints that are neither among the best nor the last."""
    others = [other for other in read_distances(folder) if other["step"] != entry["step"]]
    entries = _sorted([*others, entry])
    _write(folder, entries)
    for other in entries[keep_best:]:
        if other["step"] != entry["step"]:
            checkpoint_path(folder, other["step"]).unlink(missing_ok=True)


def forget_distances_after(folder: Path, step: int) -> None:
    """Drop from the list the steps that a run which goes on at `step` will do again."""
    entries = read_distances(folder)
    before = [entry for entry in entries if entry["step"] <= step]
    if before != entries:
        _write(folder, before)


def check_comparable(folder: Path, entry: Entry, other: Mapping[str, Any]) -> None:
    """Raises InputError where two entries were made otherwise. An entry without step is what a run is about to do."""
    before, now = ({meaning: str(made[key])[:12] for key, meaning in _COMPARED.items()} for made in (entry, other))
    if found := differing(before, now):
        steps = f"step {entry['step']} and {other.get('step', 'now')}"
        told = f"{folder / LIST_FILE}: the distances of {steps} do not compare, made with {found[0]}"
        raise InputError(told if "step" in other else f"{told}; moved away, it starts anew")


def _sorted(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (entry["distance"], entry["step"]))


def read_distances(folder: Path) -> list[Entry]:
    """The list, best first; empty where there is none. Raises InputError for a file that is no such list."""
    path = folder / LIST_FILE
    try:
        entries = [unseal(entry) for entry in read_json(path)]
        if not all(isinstance(entry[key], kind) for entry in entries for key, kind in _KINDS.items()):
            raise ValueError("a value of another type")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: not a list of distances ({error})") from None
    return _sorted([{**entry, "network": same_weights(entry["network"])} for entry in entries])


def _write(folder: Path, entries: list[Entry]) -> None:
    lines = ",\n".join(json.dumps(seal(entry)) for entry in entries)
    with atomic_path(folder / LIST_FILE) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
