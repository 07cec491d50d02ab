"""Training on several ranks, as a user starts it, and its processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from processes import PROJECT
from runs import arrays_of, records_of

needs_open_mpi = pytest.mark.skipif(
    not (shutil.which("mpirun") and shutil.which("mpicc")), reason="Open MPI is not installed"
)
SECONDS = 240


def start(*arguments: object, ranks: int) -> subprocess.Popen[str]:
    """`jiidm ARGUMENTS --ranks N`; what it writes to stderr can be read."""
    command = [sys.executable, "-m", "jiidm", *map(str, arguments), "--ranks", str(ranks)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for the end of a run that has to succeed; returns its stdout."""
    stdout, stderr = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, stderr
    return stdout


def process_of(launcher: subprocess.Popen[str], rank: int) -> int:
    """The process of a rank among those that `launcher` has started."""
    for folder in Path("/proc").iterdir():
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            if f"OMPI_COMM_WORLD_RANK={rank}".encode() in environment and _descends(int(folder.name), launcher.pid):
                command = (folder / "cmdline").read_bytes()
                if b"watchdog" not in command and b"jiidm" in command:
                    return int(folder.name)
        except (OSError, ValueError):
            continue
    raise AssertionError(f"rank {rank} does not run")


def _descends(process: int, ancestor: int) -> bool:
    while process not in (0, 1, ancestor):
        process = int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
    return process == ancestor


def wait_until(condition: Callable[[], bool], launcher: subprocess.Popen[str]) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert launcher.poll() is None and time.monotonic() < limit, launcher.communicate()[1]
        time.sleep(0.05)


def relative_difference(a: Path, b: Path) -> float:
    """The largest relative L2 difference between the networks of two checkpoints, by the first part of their names."""
    first, second = arrays_of(a), arrays_of(b)
    assert first.keys() == second.keys()
    networks: dict[str, list[str]] = {}
    for name in first:
        networks.setdefault(name.partition(".")[0], []).append(name)
    flat = [
        [np.concatenate([arrays[name].ravel().astype(np.float64) for name in names]) for arrays in (first, second)]
        for names in networks.values()
    ]
    return max(float(np.linalg.norm(x - y) / np.linalg.norm(x)) for x, y in flat)


def values_of(path: Path, name: str) -> list[tuple[int, float]]:
    """The steps of a log that have the value, with it."""
    return [(record["step"], record[name]) for record in records_of(path) if name in record]
