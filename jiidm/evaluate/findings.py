"""What the evaluators find in images, one part of a folder after the other, and the files that keep the parts."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jiidm.inference import scorecard
from jiidm.inference.folder import RUN_FOLDER
from jiidm.inference.inputs import Job
from jiidm.system.shards import Shard
from ldm_jittor.files import save_npz


@dataclass
class Findings:
    """What the networks found in the images so far; fractions are percentages here."""

    images: dict[str, dict[str, float]] = field(default_factory=dict)
    pixels: list[int] = field(default_factory=list)
    features: list[np.ndarray] = field(default_factory=list)
    confusions: list[np.ndarray] = field(default_factory=list)
    """`metrics.confusion` of each image."""

    def overall(self) -> dict[str, float]:
        """M is the mean over all pixels; the others are means over all images."""
        columns = {key: [image[key] for image in self.images.values()] for key in next(iter(self.images.values()))}
        return {key: float(np.average(c, weights=self.pixels if key == "M" else None)) for key, c in columns.items()}


class FindingParts:
    """`out`/_run/scores_parts: the findings in a shard's batches, in files of their own.

    made_with: the evaluators. A file counts while images, masks, references and evaluators are those that it was made
    from.
    """

    def __init__(
        self, out: Path, batches: Sequence[Sequence[Job]], made_with: Mapping[str, Any], count: int, with_features: bool
    ):
        self.out, self.batches, self.made_with, self.count = out, batches, made_with, count
        self.with_features = with_features
        self.folder = out / RUN_FOLDER / "scores_parts"

    def load(self, number: int) -> Findings | None:
        """The findings of part `number`, or None where they are not there for these images."""
        try:
            with np.load(self._path(number), allow_pickle=False) as arrays:
                if str(arrays["made_from"]) != self._made_from(number):
                    return None
                features = [arrays["features"]] if self.with_features and len(arrays["features"]) else []
                found = json.loads(str(arrays["images"])), arrays["pixels"].tolist(), features
                return Findings(*found, list(arrays["confusions"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, number: int, found: Findings) -> None:
        """Write the findings of part `number`, atomically. Raises OSError where that is not possible."""
        self.folder.mkdir(exist_ok=True)
        save_npz(
            self._path(number),
            made_from=np.array(self._made_from(number)),
            images=np.array(json.dumps(found.images)),
            pixels=np.array(found.pixels, np.int64),
            features=np.concatenate(found.features) if found.features else np.zeros(0),
            confusions=np.array(found.confusions, np.int32),
        )

    def joined(self) -> Findings | None:
        """The findings in all images, in the order of one run; None where a part is missing."""
        whole = Findings()
        pixels: dict[str, int] = {}
        rows: dict[str, np.ndarray] = {}
        confusions: dict[str, np.ndarray] = {}
        for number in range(1, self.count + 1):
            part = self.load(number)
            if part is None:
                return None
            whole.images.update(part.images)
            pixels.update(zip(part.images, part.pixels))
            confusions.update(zip(part.images, part.confusions))
            rows.update(zip(part.images, np.concatenate(part.features)) if part.features else ())
        stems = [job.stem for batch in self.batches for job in batch]
        whole.images = {stem: whole.images[stem] for stem in stems}
        whole.pixels = [pixels[stem] for stem in stems]
        whole.confusions = [confusions[stem] for stem in stems]
        whole.features = [np.stack([rows[stem] for stem in stems])] if rows else []
        return whole

    def own(self, number: int) -> Sequence[Sequence[Job]]:
        """The batches of part `number`."""
        return Shard(number, self.count).of(self.batches)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}_of_{self.count}.npz"

    def _made_from(self, number: int) -> str:
        jobs = [job for batch in self.own(number) for job in batch]
        inputs = [[job.stem, *job.made_from] for job in jobs]
        images = scorecard.digest(self.out, [job.stem for job in jobs])
        return hashlib.sha256(json.dumps([self.made_with, inputs, images], sort_keys=True).encode()).hexdigest()
