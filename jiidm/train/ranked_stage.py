"""A stage whose model makes images: sample sheets show them, and their distance to photos ranks the checkpoints."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from jiidm.system import ranks
from jiidm.train.checkpoints import samples_path
from jiidm.train.stage import Stage
from jiidm.train.validation import Validation


class RankedStage(Stage):
    """A subclass also sets these attributes. It keeps a checkpoint where a distance is due."""

    folder: Path
    distances: Validation | None

    def checkpoint_due(self, step: int) -> bool:
        return super().checkpoint_due(step) or self._distance_due(step)

    def begin(self, step: int) -> None:
        if self.distances is not None and ranks.is_first():
            self.distances.resume(step)

    def evaluated(self, step: int, logged: Container[str]) -> bool:
        distances = self.distances
        if distances and distances.is_due(step) and (distances.score not in logged or distances.taken(step) is None):
            return False
        return samples_path(self.folder, step).exists() or not self.due(step, self.checkpoint_every)

    def _distance_due(self, step: int) -> bool:
        return self.distances is not None and self.distances.is_due(step)
