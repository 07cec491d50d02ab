"""Compute with as many OpenMP threads as the machine has CPUs to spare.

OpenMP's threads wait for each other after every loop, and they wait busily. Beside two busy programs on two CPUs two
threads take ten times as long as on an idle machine, and one thread takes twice as long.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

WINDOW = 0.5
"""Seconds that the load is measured over, at least."""
PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class CPUs(NamedTuple):
    """CPUs that this process may use, in whatever company."""

    number: float
    used: float
    """CPU seconds that everybody together has taken of them so far."""


class Reading(NamedTuple):
    """All at one time."""

    seconds: float
    ours: float
    """CPU seconds that this process and the compilers that it ran have taken so far."""
    cpus: Sequence[CPUs]
    """Every limit of what this process may use."""


def threads_for(before: Reading, after: Reading) -> int:
    """The number of threads, at least 1, for which others have left a CPU between two readings."""
    passed, ours = after.seconds - before.seconds, after.ours - before.ours
    free = [now.number - max(0.0, now.used - then.used - ours) / passed for then, now in zip(before.cpus, after.cpus)]
    return max(1, round(min(free)))


class ThreadCount:
    """Changes the number of threads by the load. The first reading is taken when this is made."""

    def __init__(self, read: Callable[[], Reading], change: Callable[[int], None]):
        self._read, self._change = read, change
        self._before = read()

    def follow(self, now: float) -> None:
        """Does nothing until `WINDOW` has passed since the load was last measured. now: seconds, as in readings."""
        if now - self._before.seconds >= WINDOW:
            before, self._before = self._before, self._read()
            if len(before.cpus) == len(self._before.cpus):
                self._change(threads_for(before, self._before))


_count: ThreadCount | None = None


def watch_load() -> None:
    """Measure the load from now on, except where the user has set OMP_NUM_THREADS or where it cannot be read."""
    global _count
    if _count is None and "OMP_NUM_THREADS" not in os.environ and _read().cpus:
        _count = ThreadCount(_read, _set_threads)


def follow_load() -> None:
    """Choose the number of threads for what comes next. Call this between steps, as often as you like.

    The number does not change a convolution's bits: see `ldm_jittor/kernels/conv2d.h`. It may change those of
    attention over many tokens where there are 8 CPUs or more.
    """
    if _count is not None:
        _count.follow(time.monotonic())


def keep_threads() -> None:
    """Compute with all CPUs of this process from now on, whatever the load.

    For training: the last bits of gradients depend on the number of threads.
    """
    global _count
    if _count is not None:
        _set_threads(max(1, round(min(cpus.number for cpus in _read().cpus))))
    _count = None


def _set_threads(number: int) -> None:
    # of the OpenMP that Jittor has loaded for everybody, whichever that is
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).omp_set_num_threads(number)


def _read() -> Reading:
    return Reading(time.monotonic(), sum(os.times()[:4]), [*_machine(), *_control_groups()])


def _machine() -> Iterator[CPUs]:
    """The CPUs that the process may run on, by /proc/stat, which not every system has."""
    with contextlib.suppress(OSError, AttributeError, ValueError, IndexError):
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        rows = [line.split() for line in (PROC / "stat").read_text().splitlines()]
        ticks = [list(map(int, row[1:9])) for row in rows if row and row[0] in mine]
        # user, nice, system, irq, softirq and what the host of a virtual machine took, without idle and iowait
        used = sum(sum(row[:3]) + sum(row[5:8]) for row in ticks)
        if len(ticks) == len(mine):
            yield CPUs(len(mine), used / os.sysconf("SC_CLK_TCK"))


def _control_groups() -> Iterator[CPUs]:
    """The groups above this process, such as a container, whose CPU time has a limit."""
    with contextlib.suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _each(GROUPS, path, _version_2)
            elif "cpu" in controllers.split(","):
                yield from _each(GROUPS / "cpu", path, _version_1)


def _each(root: Path, path: str, read: Callable[[Path], CPUs | None]) -> Iterator[CPUs]:
    """What `read` finds in the group and in those that hold it. In a container the upper ones may not be there."""
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        if folder.is_relative_to(root):
            with contextlib.suppress(OSError, ValueError):
                cpus = read(folder)
                if cpus is not None:
                    yield cpus


def _version_2(folder: Path) -> CPUs | None:
    quota, period = (folder / "cpu.max").read_text().split()
    if quota == "max":
        return None
    times = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
    return CPUs(int(quota) / int(period), int(times["usage_usec"]) / 1e6)


def _version_1(folder: Path) -> CPUs | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    if quota < 0:
        return None
    used = int((GROUPS / "cpuacct" / folder.relative_to(GROUPS / "cpu") / "cpuacct.usage").read_text())
    return CPUs(quota / int((folder / "cpu.cfs_period_us").read_text()), used / 1e9)
