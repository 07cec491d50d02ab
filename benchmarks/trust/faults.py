"""A process whose changes to one folder are counted, and which dies or meets a full disk at one of them.

`faults.cpp` stands between the program and the system, so that it sees what any library writes.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

from benchmarks.trust.common import Broken, run

SOURCE = Path(__file__).with_name("faults.cpp")


@functools.cache
def library() -> Path:
    """`faults.cpp` compiled."""
    target = Path(tempfile.mkdtemp(prefix="faults-")) / "faults.so"
    subprocess.run(["g++", "-shared", "-fPIC", "-O1", "-o", target, SOURCE, "-ldl"], check=True)
    return target


def run_with_fault(command: list[str], folder: Path, kind: str, at: int) -> subprocess.CompletedProcess[str]:
    """Run a command whose change number `at` in `folder` meets a fault of that kind: kill or full."""
    given = {"FAULT_FOLDER": str(folder), "FAULT_KIND": kind, "FAULT_AT": str(at)}
    return run(command, LD_PRELOAD=str(library()), **given)


def changes(command: list[str], folder: Path) -> list[str]:
    """What the command changes in `folder`, a line each: the kind of change and the file."""
    with tempfile.NamedTemporaryFile("r") as log:
        given = {"FAULT_FOLDER": str(folder), "FAULT_AT": "0", "FAULT_LOG": log.name}
        result = run(command, LD_PRELOAD=str(library()), **given)
        if result.returncode:
            raise Broken(f"undisturbed, it ended with status {result.returncode}: {result.stderr[-200:]}")
        return log.read().splitlines()
