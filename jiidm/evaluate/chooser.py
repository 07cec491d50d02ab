"""What chooses among candidates for a mask: the scores of a single image."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from jiidm.data.images import load_image, load_mask
from jiidm.evaluate import metrics
from jiidm.evaluate.laion import Laion
from jiidm.evaluate.nima import Aesthetic
from jiidm.evaluate.segmenter import Segmenter
from jiidm.inference.inputs import Job


class Chooser:
    """Scores one image after the other, so that scores do not depend on what else is scored."""

    def __init__(self, segmenter: Segmenter, aesthetic: Aesthetic | Laion | None = None):
        self.segmenter, self.aesthetic = segmenter, aesthetic

    def __call__(self, image: np.ndarray, job: Job) -> dict[str, float]:
        """M, S and, with an aesthetic network, A of an image for a job, uint8 RGB [h,w,3] of its mask's size.

        They are in percent, to four decimals as `jiidm score` keeps them.
        """
        [prediction] = self.segmenter.predict(image[None])
        scores = {
            "M": metrics.pixel_accuracy(prediction, load_mask(job.mask)),
            "S": metrics.color_similarity(image, load_image(job.reference)),
        }
        if self.aesthetic:
            scores["A"] = float(self.aesthetic.scores(image[None])[0])
        return {name: round(100 * score, 4) for name, score in scores.items()}

    def record(self) -> dict[str, Any]:
        """What decides the scores, as JSON can hold it."""
        used: dict[str, Any] = {"histogram": metrics.HISTOGRAM, "segmenter": _essence(self.segmenter)}
        if self.segmenter.mapping:
            used["segmenter"]["classes"] = self.segmenter.mapping.numbers
        if self.aesthetic:
            used["aesthetic"] = _essence(self.aesthetic)
        return json.loads(json.dumps(used))


def _essence(network: Segmenter | Aesthetic | Laion) -> dict[str, Any]:
    return {"sha256": network.sha256, "preprocessing": network.preprocessing}
