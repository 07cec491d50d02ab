"""Seconds per image, taken while an experiment's images are made: OUT/_run/speed.json."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from jiidm.inference.folder import RUN_FOLDER
from jiidm.inference.infer import Generates
from jiidm.pipeline import Input, Result
from ldm_jittor.files import atomic_path, read_json

FILE = "speed.json"


class Timed:
    """A pipeline that writes into an output folder how long its images took, without their files.

    The first batch does not count where others follow: Jittor compiles during it.
    """

    def __init__(self, pipeline: Generates, out: Path):
        self.pipeline, self.config, self.path = pipeline, pipeline.config, out / RUN_FOLDER / FILE

    @property
    def batch_size(self) -> int:
        return self.pipeline.batch_size

    def num_passes(self, inputs: Sequence[Input], *, wanted: Container[str] | None = None) -> int:
        return self.pipeline.num_passes(inputs, wanted=wanted)

    @property
    def stream(self) -> Callable[..., Iterator[Result]]:
        return self._stream

    def _stream(self, inputs: Sequence[Input], **options: Any) -> Iterator[Result]:
        results, seconds = self.pipeline.stream(inputs, **options), []
        while True:
            start = time.perf_counter()
            result = next(results, None)
            seconds.append(time.perf_counter() - start)
            if result is None:
                break
            yield result
        counted = seconds[self.batch_size : -1] or seconds[:-1]
        if counted:
            with atomic_path(self.path) as temporary:
                record = {"seconds_per_image": sum(counted) / len(counted), "images": len(counted)}
                temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")


def seconds_per_image(out: Path) -> float | None:
    """What the last call that made images in an output folder took for one; None where none was recorded."""
    try:
        return float(read_json(out / RUN_FOLDER / FILE)["seconds_per_image"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
