"""Several images for each mask, from as many seeds. The one with the best scores is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Container, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jiidm.data.images import as_written, resize_image
from jiidm.inference.folder import CANDIDATES, OutputFolder
from jiidm.inference.infer import Generates
from jiidm.inference.inputs import Job
from jiidm.inference.scorecard import value
from ldm_jittor.files import atomic_path

if TYPE_CHECKING:
    from jiidm.pipeline import Input, Result

logger = logging.getLogger(__name__)

Rate = Callable[[np.ndarray, Job], dict[str, float]]
"""The scores of an image, uint8 RGB [h,w,3] of its mask's size: M, S and, where it is measured, A, in percent."""


class Candidates:
    """Stands for a pipeline: it generates each mask `count` times and gives the image of the largest `value`.

    The seeds are the one given and those that follow it, and the first of equals is kept. So `jiidm infer --seed` makes
    each candidate alone. Images are rated as their files will have them. `OUT`/_run/candidates/<stem>.json lists all
    scores. Of each mask in a batch the best so far is held, so memory does not grow with their number.
    """

    def __init__(self, pipeline: Generates, count: int, rate: Rate, folder: OutputFolder, jobs: Sequence[Job]):
        self.pipeline, self.config = pipeline, pipeline.config
        self.count, self.rate = count, rate
        self.folder, self.jobs = folder, {job.stem: job for job in jobs}

    @property
    def batch_size(self) -> int:
        """How many inputs go through the networks together."""
        return self.pipeline.batch_size

    def num_passes(self, inputs: Sequence[Input], *, wanted: Container[str] | None = None) -> int:
        """Network passes of all candidates, which `stream` will report for the same arguments."""
        return self.count * self.pipeline.num_passes(inputs, wanted=wanted)

    def stream(
        self, inputs: Sequence[Input], *, seed: int, wanted: Container[str] | None = None, **options: Any
    ) -> Iterator[Result]:
        """The kept results of `inputs`, in order; with `wanted` only those named there.

        options: further ones of the pipeline's `stream`. Raises as that does.
        """
        from jiidm.pipeline import batches

        for batch in batches(inputs, self.batch_size, wanted):
            names = [input_.name for input_ in batch if wanted is None or input_.name in wanted]
            kept: dict[str, Result] = {}
            tried: dict[str, list[dict[str, float]]] = {name: [] for name in names}
            for candidate in range(seed, seed + self.count):
                for result in self.pipeline.stream(inputs, seed=candidate, wanted=names, **options):
                    scores = self._scores(result)
                    before = [each["value"] for each in tried[result.name]]
                    if not before or scores["value"] > max(before):
                        kept[result.name] = result
                    tried[result.name].append({"seed": candidate, **scores})
            for name in names:
                self._record(name, tried[name])
                yield kept[name]

    def _scores(self, result: Result) -> dict[str, float]:
        """The scores of a result's file, and their `value`. Raises InputError where the job's files have changed."""
        job = self.jobs[result.name]
        job.check_unchanged()
        image = as_written(resize_image(result.image, job.size), self.config.inference.jpeg_quality)
        scores = self.rate(image, job)
        return {**scores, "value": round(value(scores), 4)}

    def _record(self, name: str, tried: Sequence[dict[str, float]]) -> None:
        """List the candidates of a mask. An image that is there has its list, since this comes first."""
        best = max(tried, key=lambda each: each["value"])  # the first of equals
        path = self.folder.run_folder / CANDIDATES / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"seed": best["seed"], "candidates": list(tried)}, indent=1) + "\n")
        least = min(each["value"] for each in tried)
        told = "%s: seed %d is kept, with %.2f; the %d candidates have %.2f to %.2f"
        logger.info(told, name, best["seed"], best["value"], len(tried), least, best["value"])
