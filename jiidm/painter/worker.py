"""The process that owns Jittor. Jittor holds Python's lock while it computes, so the server has none of it."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jiidm.config.schema import Config, Round
from jiidm.data.images import load_image, resize_image
from jiidm.errors import InputError
from jiidm.painter.preview import preview_rounds
from jiidm.painter.results import ModelOrigin
from jiidm.size import Size
from ldm_jittor.errors import CheckpointError

if TYPE_CHECKING:
    from jiidm.pipeline import Hooks, Pipeline

CANCEL = "cancel"
_PATIENCE = 0.05
"""Seconds between two looks at whether a job is still wanted."""
_LAST_SECONDS = 5.0


class Loaded(NamedTuple):
    """What the process computes with."""

    pipeline: Pipeline
    hooks_for: Callable[[Config], Hooks]
    """The hooks of the pipeline that belong to a config."""
    origin: ModelOrigin


class Ready(NamedTuple):
    """What the server learns of what was loaded."""

    config: Config
    origin: ModelOrigin


Load = Callable[[], Loaded]


@dataclass(frozen=True)
class Job:
    """One image to generate. Its noise belongs to `name` and the config's seed."""

    name: str
    mask: np.ndarray
    """uint8 [h,w] of class ids."""
    reference: Path
    config: Config
    preview: bool
    """Whether a quick image comes first."""
    full: bool = True
    """Whether the whole chain runs."""


class Event(NamedTuple):
    """What the process tells of a job: `kind` is preview, step, image, cancelled or failed."""

    kind: str
    image: np.ndarray | None = None
    """uint8 RGB [h,w,3] of the mask's size, for preview and image."""
    seconds: float = 0.0
    done: int = 0
    total: int = 0
    message: str = ""


class Worker:
    """The process, seen from the server. `run` is for one thread at a time."""

    def __init__(self, load: Load):
        """load: is called in the process, and chooses the device first. It must be a function that pickle knows.

        Raises InputError where it refuses its model or device.
        """
        self._load = load
        self.config, self.origin = self._start()

    def run(self, job: Job, unwanted: Callable[[], bool]) -> Iterator[Event]:
        """Generate, and give the events of a job up to its last: image, cancelled or failed.

        It is cancelled between two steps as soon as `unwanted()`. A process that has died is replaced by the next call.
        """
        if not self._process.is_alive():
            self._start()
        self._connection.send(job)
        cancelled = finished = False
        try:
            while not finished:
                if not cancelled and unwanted():
                    self._connection.send(CANCEL)
                    cancelled = True
                if self._connection.poll(_PATIENCE):
                    event = self._connection.recv()
                    finished = _is_last(event, job)
                    yield event
        except (EOFError, ConnectionError):
            finished = True
            self._process.join(1)
            yield Event("failed", message="the process that generates has ended; there may be too little memory")
        finally:
            if not finished:  # whoever listened is gone
                self._wind_up(job)

    def close(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join(_LAST_SECONDS)
        self._process.kill()

    def _start(self) -> Ready:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self._load), daemon=True, name="jiidm-painter")
        former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is the server's
        self._process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
        theirs.close()
        try:
            answer = self._connection.recv()
        except EOFError:
            raise InputError("the process that generates ended while it loaded the model") from None
        if isinstance(answer, Ready):
            return answer
        raise InputError(answer)

    def _wind_up(self, job: Job) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            self._connection.send(CANCEL)
            while not _is_last(self._connection.recv(), job):
                pass


def _is_last(event: Event, job: Job) -> bool:
    return event.kind in ("image", "cancelled", "failed") or (event.kind == "preview" and not job.full)


class _Cancelled(Exception):
    pass


def work(connection: Connection, load: Load) -> None:
    """The process: load, then one job after the other until the server is gone."""
    try:
        loaded = load()
        _warm_up(loaded.pipeline)
    except (InputError, CheckpointError) as error:
        connection.send(str(error))
        return
    connection.send(Ready(loaded.pipeline.config, loaded.origin))
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            job = connection.recv()
            if job == CANCEL:  # it came after the job's end
                continue
            try:
                _generate(job, loaded, connection)
            except _Cancelled:
                connection.send(Event("cancelled"))
            except InputError as error:
                connection.send(Event("failed", message=str(error)))
            except (EOFError, ConnectionError):
                raise
            except Exception as error:  # the page tells it, and the next job is tried
                traceback.print_exc()
                connection.send(Event("failed", message=f"{type(error).__name__}: {error}"))


def _generate(job: Job, loaded: Loaded, connection: Connection) -> None:
    from jiidm.pipeline import PLAIN, Input

    inputs = [Input(job.name, job.mask, load_image(job.reference))]
    start = time.monotonic()
    done, total = 0, sum(round_.num_steps for round_ in job.config.inference.rounds)

    def check(_: int) -> None:
        if connection.poll():  # the server sends nothing else during a job
            raise _Cancelled

    def count(passes: int) -> None:
        nonlocal done
        check(passes)
        done += 1
        connection.send(Event("step", seconds=time.monotonic() - start, done=done, total=total))

    def give(kind: str, rounds: tuple[Round, ...], hooks: Hooks, on_step: Callable[[int], None]) -> None:
        [result] = loaded.pipeline.stream(inputs, seed=job.config.seed, rounds=rounds, hooks=hooks, on_step=on_step)
        image = resize_image(result.image, Size(*job.mask.shape))
        connection.send(Event(kind, image, time.monotonic() - start))

    if job.preview:
        give("preview", preview_rounds(job.config), PLAIN, check)
    if job.full:
        give("image", job.config.inference.rounds, loaded.hooks_for(job.config), count)


def _warm_up(pipeline: Pipeline) -> None:
    """Jittor compiles operators at their first use, and the first preview should not wait for that."""
    from jiidm.pipeline import Input

    size = pipeline.config.data.size
    blank = Input("", np.zeros(size, np.uint8), np.zeros((*size, 3), np.uint8))
    for _ in pipeline.stream([blank], seed=0, rounds=preview_rounds(pipeline.config)):
        pass
