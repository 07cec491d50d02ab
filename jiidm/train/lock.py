"""One process at a time trains in a run folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from jiidm.errors import InputError, warn_once
from jiidm.system import ranks
from ldm_jittor.temporaries import leftovers

LOCK_FILE = "run.lock"


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder while the block runs. Remove the temporary files that ended processes left in it.

    The system frees the lock when the process ends in any way, so a file that stays does no harm. It names the host
    and the process for people. Rank 0 holds the lock for all ranks. Raises InputError where another run trains here.
    """
    if not ranks.is_first():
        yield
        return
    with open(folder / LOCK_FILE, "a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock's, not kept by forked workers
        except (BlockingIOError, PermissionError):
            file.seek(0)
            told = f"{file.read(200).strip()} trains here; wait for its end, or choose another --run folder"
            raise InputError(f"{folder}: {told}") from None
        except OSError as error:
            warn_once(f"{folder}: this file system has no locks ({error.strerror}); let one process alone train here")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        for place in (folder, *filter(Path.is_dir, folder.rglob("*"))):
            for leftover in leftovers(place):
                leftover.unlink(missing_ok=True)
        yield
