"""What a command shows people: results on stdout, errors and warnings on stderr in one line each."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from jiidm.errors import one_line
from jiidm.system import ranks

FIRST_SPEAKS = 2.0
"""Seconds. What all ranks refuse rank 0 tells; by then its end has ended the others."""


def fill_closed_streams() -> None:
    """Put the null device in the place of stdin, stdout or stderr where the caller has closed it, as `>&-` does.

    The next file that is opened would else take its number, and what a library prints would go into that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115


def tell_error(message: object) -> None:
    """The one place where errors are printed. Where stderr takes nothing either, the exit status still tells."""
    whose = "" if ranks.is_first() else f"rank {ranks.rank()}: "
    if whose:
        time.sleep(FIRST_SPEAKS)
    try:
        print(f"error: {whose}{one_line(str(message))}", file=sys.stderr, flush=True)
    except OSError:
        give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Let the rest of the buffer go nowhere, else Python would complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def keep_to_first_rank() -> None:
    """Let rank 0 alone show progress, information and results."""
    if not ranks.is_first():
        os.environ["TQDM_DISABLE"] = "1"  # tqdm is not imported yet
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 as long as the process


class _Console(logging.Handler):
    """The library's log as lines: information on stdout, `warning: ...` on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:
            from tqdm import tqdm

            tqdm.write(record.getMessage())  # above a progress bar that may be there
        else:
            print(f"{record.levelname.lower()}: {one_line(record.getMessage())}", file=sys.stderr)


@contextlib.contextmanager
def showing_log() -> Iterator[None]:
    """Print what the kit and its core log while the block runs."""
    loggers, handler = [logging.getLogger(name) for name in ("jiidm", "ldm_jittor")], _Console()
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO if ranks.is_first() else logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
            logger.removeHandler(handler)
