"""Writing files so that a reader never sees half of one, not even after a power cut."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY = re.compile(r"\.(?P<host>.+)-(?P<process>\d+)-\d+\.tmp(\..*)?")
_HOUR = 3600.0
_numbers = itertools.count()


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield the path of an empty file beside `path`; it takes `path`'s place when the block ends without an exception.

    The temporary file keeps the suffix of `path`, because image libraries choose their format by it. Its name tells
    the host and the process, so that `leftovers` can find it. It is removed when the block raises.
    Raises OSError where the folder is missing or cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{socket.gethostname()}-{os.getpid()}-{next(_numbers)}.tmp{path.suffix}")
    handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
    mode = os.fstat(handle).st_mode & 0o777  # what the umask allows; safetensors leaves less
    os.close(handle)
    try:
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(folder: str | os.PathLike) -> list[Path]:
    """The temporary files of `atomic_path` in `folder` that nobody will finish.

    Their process ran on this host and has ended, or ran on another one and has not written for an hour.
    """
    return [path for path in sorted(Path(folder).iterdir()) if _abandoned(path)]


def _abandoned(path: Path) -> bool:
    name = _TEMPORARY.fullmatch(path.name)
    if name is None:
        return False
    if name["host"] == socket.gethostname():
        return not _runs(int(name["process"]))
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _HOUR
    return False


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _sync(path: Path) -> None:
    """Wait until the file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
