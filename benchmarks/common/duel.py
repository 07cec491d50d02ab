"""Time several programs that do the same work, in turns (A B A B ...), after checking that their answers agree.

Every contestant is a process of its own, because PyTorch and Jittor's oneDNN clash in one. It stays up for the whole
duel. Its work is warmed up before the first turn, and other load on the machine falls on all alike.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
TORCH_PYTHON = PROJECT / ".venv-parity" / "bin" / "python"

TURN_SECONDS = 1.0
"""Shorter work is repeated within a turn, because another program's turn leaves caches cold and threads asleep."""

Work = Callable[[], dict[str, np.ndarray]]
"""The timed work. It returns its answers by name, all computed by then."""


class Contestant(NamedTuple):
    name: str
    command: list[str]


class Result(NamedTuple):
    seconds: float
    """Median over the turns."""
    resident: float
    """Memory of the process before the first turn, GiB."""
    peak: float
    """Largest memory of the process during the turns, GiB."""

    @property
    def on_top(self) -> float:
        """Memory that the work needs for a while, GiB."""
        return self.peak - self.resident


def ours(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments, "--worker"]


def torchs(task: str, *arguments: str) -> list[str]:
    if not TORCH_PYTHON.exists():
        sys.exit("error: PyTorch is not set up for the comparison; make it with: bash tests/parity/setup.sh")
    return [str(TORCH_PYTHON), "-m", "benchmarks.common.torch_twin", task, *arguments]


def duel(contestants: Sequence[Contestant], turns: int, tolerance: float = 1e-3, share: float = 1.0) -> list[Result]:
    """Results in the contestants' order.

    Exits when an answer differs from the first's by more than `tolerance` of its largest value, in more than 1 -
    `share` of its values.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        paths = [Path(folder, f"{number}.npz") for number in range(len(contestants))]
        workers = []
        for contestant, path in zip(contestants, paths):
            print(f"preparing {contestant.name}", file=sys.stderr)
            workers.append(stack.enter_context(_start([*contestant.command, str(path)])))
            _expect_ready(workers[-1])
        _check_agreement(contestants, [dict(np.load(path)) for path in paths], tolerance, share)
        return _take_turns(workers, turns)


def _take_turns(workers: Sequence[subprocess.Popen], turns: int) -> list[Result]:
    resident = [memory(worker.pid, "VmRSS") for worker in workers]
    for worker in workers:
        Path(f"/proc/{worker.pid}/clear_refs").write_text("5")  # the peak starts anew
    seconds: list[list[float]] = [[] for _ in workers]
    for turn in range(turns):
        print(f"turn {turn + 1} of {turns}", file=sys.stderr)
        for worker, times in zip(workers, seconds):
            worker.stdin.write("go\n")
            worker.stdin.flush()
            times.append(float(_answer(worker)))
    peaks = [memory(worker.pid, "VmHWM") for worker in workers]
    return [Result(statistics.median(times), rest, peak) for times, rest, peak in zip(seconds, resident, peaks)]


def serve(work: Work, path: str, release: Callable[[], None] = lambda: None) -> None:
    """A contestant's side: do the work once and save its answers to `path`; then do it once per line on stdin, timed.

    Before the first line `release` frees what the framework keeps for its next call, so that memory at rest is seen.
    """
    work()
    np.savez(path, **work())
    release()
    ctypes.CDLL(None).malloc_trim(0)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(_mean_seconds(work), flush=True)


def _mean_seconds(work: Work) -> float:
    start = time.perf_counter()
    for count in itertools.count(1):
        work()
        passed = time.perf_counter() - start
        if passed >= TURN_SECONDS:
            return passed / count


def _start(command: list[str]) -> subprocess.Popen:
    environment = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), **os.environ}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, cwd=PROJECT)


def _expect_ready(worker: subprocess.Popen) -> None:
    while _answer(worker) != "ready":  # Jittor prints too
        pass


def _answer(worker: subprocess.Popen) -> str:
    line = worker.stdout.readline()
    if not line:
        sys.exit(f"error: {' '.join(worker.args[:3])} stopped with status {worker.wait()}")
    return line.strip()


def _check_agreement(
    contestants: Sequence[Contestant], answers: Sequence[Mapping[str, np.ndarray]], tolerance: float, share: float
) -> None:
    for contestant, others in zip(contestants[1:], answers[1:]):
        differences = {name: _difference(answer, others[name], share) for name, answer in answers[0].items()}
        shown = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
        print(f"{contestants[0].name} and {contestant.name} differ by at most: {shown}")
        if not all(difference <= tolerance for difference in differences.values()):
            sys.exit(f"error: more than {tolerance:.0e}: they do not compute the same")


def _difference(answer: np.ndarray, other: np.ndarray, share: float) -> float:
    """The largest difference within `share` of the values, in units of the largest value."""
    differences = np.abs(answer.astype(np.float64) - other)
    return float(np.quantile(differences, share) / np.abs(answer).max())


def memory(pid: int | str, field: str) -> float:
    return int(re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 2**20
