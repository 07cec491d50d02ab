"""A process whose changes to one folder are counted, and which dies or meets a full disk at one of them.

`faults.cpp` stands between the program and the system, so that it sees what any library writes.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.trust import common

SOURCE = Path(__file__).with_name("faults.cpp")
LOADED = "FAULTS_LOADED"
"""Set in the environment of a process whose own library this is."""


@functools.cache
def library() -> Path:
    """`faults.cpp` compiled."""
    if LOADED in os.environ:
        return Path(os.environ["LD_PRELOAD"])
    target = Path(tempfile.mkdtemp(prefix="faults-")) / "faults.so"
    subprocess.run(["g++", "-shared", "-fPIC", "-O1", "-o", target, SOURCE, "-ldl"], check=True)
    return target


def run_with_fault(command: list[str], folder: Path, kind: str, at: int) -> subprocess.CompletedProcess[str]:
    """Run a command whose change number `at` in `folder` meets a fault of that kind: kill or full."""
    given = {"FAULT_FOLDER": str(folder), "FAULT_KIND": kind, "FAULT_AT": str(at)}
    return common.run(command, LD_PRELOAD=str(library()), **given)


def changes(command: list[str], folder: Path) -> list[str]:
    """What the command changes in `folder`, a line each: the kind of change and the file."""
    with tempfile.NamedTemporaryFile("r") as log:
        given = {"FAULT_FOLDER": str(folder), "FAULT_AT": "0", "FAULT_LOG": log.name}
        result = common.run(command, LD_PRELOAD=str(library()), **given)
        if result.returncode:
            raise common.Broken(f"undisturbed, it ended with status {result.returncode}: {result.stderr[-200:]}")
        return log.read().splitlines()


def get_ready_to_fork() -> None:
    """Start this check again with `faults.cpp` before all libraries, then import what the kit's commands import."""
    if LOADED not in os.environ:
        environment = {**os.environ, LOADED: "1", "LD_PRELOAD": str(library())}
        os.execve(sys.executable, sys.orig_argv, environment)
    import tqdm

    from jiidm.cli import main  # noqa: F401 for the forks
    from jiidm.system import runtime

    tqdm.tqdm.monitor_interval = 0  # a thread that holds a lock at the wrong moment would hold it for ever
    runtime.use_device(runtime.prepare("cpu").device)
