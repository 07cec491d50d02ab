"""How a training run stops: a signal waits for the end of the step, and a second one stops at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from jiidm.errors import Stopped
from jiidm.system import ranks
from jiidm.system.runtime import spare_worker

STOPPING = (
    signal.SIGINT,  # Ctrl-C: exit status 130
    signal.SIGTERM,  # kill, and Slurm before it ends a job: 143
    signal.SIGUSR1,  # Slurm's own warning, with --signal=USR1: 138
    signal.SIGHUP,  # the terminal was closed: 129
)
"""The signals that end a run with its state saved. The command's exit status is 128 and the signal's number."""


class DeferredSignals:
    """While the block runs, the signals `STOPPING` are only noted.

    The loop then stops between two steps, where parameters, moments, averages and counters belong together. After the
    first signal all have their former meaning, so a second one stops at once. A signal that was ignored before stays
    ignored, as Ctrl-C is for a job in the background and SIGHUP under nohup.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._former: dict[int, Any] = {}

    def asked_of_any(self) -> bool:
        """Whether a signal has come to any rank. If so, it counts as this one's too, and all stop together."""
        number = int(max(ranks.gather(self._noted or 0)))
        if number and self._noted is None:
            self._note(number, None)
        return bool(number)

    def stop_if_asked(self) -> None:
        """Raises Stopped where a signal has come."""
        if self._noted is not None:
            raise Stopped(self._noted)

    def __enter__(self) -> DeferredSignals:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python lets nobody set a handler
            former = {number: signal.getsignal(number) for number in STOPPING}
            self._former = {number: handler for number, handler in former.items() if handler is not signal.SIG_IGN}
        for number in self._former:
            signal.signal(number, self._note)
            signal.siginterrupt(number, False)  # Jittor takes a lock that a signal interrupts for a fault
        os.register_at_fork(after_in_child=self._leave_to_worker)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raises Stopped in the place of an error where a signal has come.

        A signal to the whole process group, as `timeout` and Slurm send it, ends a compiler that runs for Jittor, too.
        """
        self._restore()
        if kind is not None and issubclass(kind, RuntimeError):
            self.stop_if_asked()

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _leave_to_worker(self) -> None:
        """Jittor's compiling workers are forked in here, and have to end by SIGTERM at once."""
        if self._former:
            self._restore()
            spare_worker()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = number
        self._restore()
