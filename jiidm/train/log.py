"""The reports of a training run: a progress bar, JSON lines, and TensorBoard events where that library is present."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from jiidm.report.logs import read_log
from jiidm.system.progress import StepBar
from ldm_jittor.files import atomic_path, naming


class RunLog:
    """Progress from `first_step` to `max_steps`, and `<name>.jsonl` with one record per logged step.

    Records of steps beyond `first_step` are dropped, because the resumed run replaces them.
    """

    def __init__(self, folder: str | os.PathLike, name: str, first_step: int, max_steps: int):
        self.path = Path(folder) / f"{name}.jsonl"
        self._keep_until(first_step)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _open_board(Path(folder) / "tensorboard" / name)
        self._bar = StepBar(total=max_steps, initial=first_step, desc=name, unit="step", smoothing=0.05)

    def advance(self, losses: Mapping[str, float] | None) -> None:
        """Note one more step and show the first of its losses. None stands for a step that was skipped."""
        loss = next(iter(losses.values())) if losses else math.nan
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self._bar.update()

    def record(self, step: int, **values: float) -> None:
        """Write plain numbers for a step to all places."""
        with naming(self.path):
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)

    def values_of(self, step: int) -> set[str]:
        """The names of all values that the log has of a step."""
        return {name for record in read_log(self.path) if record["step"] == step for name in record}

    def sync(self) -> None:
        """Wait until the log is on the disk: a state that is saved later must not outlive records of earlier steps."""
        with naming(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._bar.close()
        with naming(self.path):
            self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _keep_until(self, step: int) -> None:
        if not self.path.exists():
            return
        kept = [json.dumps(record) + "\n" for record in read_log(self.path) if record["step"] <= step]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


class SilentLog(RunLog):
    """What a rank other than 0 has in its place."""

    def __init__(self) -> None:
        pass

    def advance(self, losses: Mapping[str, float] | None) -> None:
        pass

    def record(self, step: int, **values: float) -> None:
        pass

    def values_of(self, step: int) -> set[str]:
        return set()

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


def _open_board(folder: Path):
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
