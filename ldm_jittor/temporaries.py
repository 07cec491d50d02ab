"""Temporary files: their names tell who writes them, so that those which nobody will finish are found."""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import socket
import tempfile
from pathlib import Path

_NAME = re.compile(
    r"\..+?-((?P<system>[0-9a-f]{8})-(?P<process>\d+)-(?P<started>\d+)|\d+)-\d+\.tmp(\..*)?"  # \d+: earlier versions
)
_HOUR = 3600.0
_numbers = itertools.count()


def temporary_path(path: Path) -> Path:
    """A name beside `path` that no other call gives, with its suffix. It tells host, process and the process's start.

    A number alone would not tell a process: the system gives it to another one later, and another machine or container
    may have the same host name.
    """
    writer = f"{socket.gethostname()}-{_system()}-{os.getpid()}-{_start(os.getpid())}"
    return path.with_name(f".{writer}-{next(_numbers)}.tmp{path.suffix}")


def leftovers(folder: str | os.PathLike) -> list[Path]:
    """The temporary files in `folder` that nobody will finish.

    Their process ran on this system and has ended, or ran on another one and has not written for an hour.
    """
    return [path for path in sorted(Path(folder).iterdir()) if _abandoned(path)]


def _abandoned(path: Path) -> bool:
    name = _NAME.fullmatch(path.name)
    if name is None:
        return False
    if name["system"] == _system():
        return _start(int(name["process"])) not in (name["started"], _UNKNOWN)
    try:
        with tempfile.TemporaryFile(dir=path.parent) as now:  # by the clock that dates files here
            return os.fstat(now.fileno()).st_mtime - path.stat().st_mtime > _HOUR
    except OSError:  # gone meanwhile, or not ours to remove
        return False


_UNKNOWN = "0"


@functools.cache
def _system() -> str:
    """What this system is known by: its boot, and the namespace that its processes are numbered in."""
    try:
        boot, namespace = Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")
    except OSError:
        boot, namespace = socket.gethostname(), ""
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:8]


def _start(process: int) -> str | None:
    """When a process of this system has started, in ticks since the boot; None for one that has ended."""
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return None
    except PermissionError:  # another user's
        pass
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # a system without /proc, or one that hides it
        return _UNKNOWN
    return None if state in "ZX" else fields[18]
