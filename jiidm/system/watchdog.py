"""A process that ends another one which hangs: a rank that does nothing would let all others wait for ever.

It runs beside each rank, as `python watchdog.py PROCESS RANK SECONDS`. Open MPI then ends the other ranks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

LIMIT = 40.0
"""Seconds. A rank that waits for others is busy: Open MPI asks again and again."""
SPOKEN = 0.5
"""Seconds for Open MPI to pass the message on."""
PROC = Path("/proc")


def watch(process: int, rank: int, limit: float) -> bool:
    """Wait for the end of the parent `process`. Kill it, and return True, where it does nothing for `limit` seconds."""
    used, since = processor_time(process), time.monotonic()
    while os.getppid() == process:
        time.sleep(limit / 10)
        now = processor_time(process)
        if now != used or waits_for_others(process):
            used, since = now, time.monotonic()
        elif time.monotonic() - since >= limit:
            told = f"rank {rank}, process {process} on {socket.gethostname()}, has hung for {limit:.0f} s"
            sys.stderr.write(f"\nerror: {told}: the run ends, and its last state is good\n")
            sys.stderr.flush()
            time.sleep(SPOKEN)
            os.kill(process, signal.SIGKILL)
            return True
    return False


def processor_time(process: int) -> int:
    """Clock ticks that a process and those that it has started have used, compilers for example, but not this one."""
    parents, ticks = {}, {}
    for folder in PROC.iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            with contextlib.suppress(OSError, ValueError):  # it has ended
                fields = _fields(folder / "stat")
                parents[int(folder.name)] = int(fields[1])
                ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    return sum(used for number, used in ticks.items() if _descends(number, process, parents))


def waits_for_others(process: int) -> bool:
    """Whether it waits for a disk, as at the end of a long save, or for a file's lock, as while another compiles."""
    with contextlib.suppress(OSError):
        for task in (PROC / str(process) / "task").iterdir():
            if _fields(task / "stat")[0] == "D":
                return True
        waiting = [line.split() for line in (PROC / "locks").read_text().splitlines() if "->" in line]
        return any(str(process) in fields for fields in waiting)
    return False


def _descends(number: int, ancestor: int, parents: dict[int, int]) -> bool:
    while number in parents and number != ancestor:
        number = parents[number]
    return number == ancestor


def _fields(stat: Path) -> list[str]:
    """The fields after the name, which may hold anything: state, parent, ..."""
    return stat.read_text().rpartition(")")[2].split()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are meant for the rank
    watch(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
