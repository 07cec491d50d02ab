"""Processes of the kit, forked from a check that has imported Jittor: that is half of what a short command does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from typing import BinaryIO, NoReturn


def is_ready() -> bool:
    return "jittor" in sys.modules


class Forked:
    """As much of `subprocess.Popen` as the checks need."""

    def __init__(self, words: list[str], environment: dict[str, str], out: BinaryIO, errors: BinaryIO):
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _be_the_command(words, environment, out, errors)

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, seconds: float = float("inf")) -> int:
        end = time.monotonic() + seconds
        while (status := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("jiidm", seconds)
            time.sleep(0.005)
        return status

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def _be_the_command(words: list[str], environment: dict[str, str], out: BinaryIO, errors: BinaryIO) -> NoReturn:
    status = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, handle in enumerate((nothing, out.fileno(), errors.fileno())):
            os.dup2(handle, number)
        os.environ.update(environment)
        from jiidm.cli.main import main

        status = main(words)
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
