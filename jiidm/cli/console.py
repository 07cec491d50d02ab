"""What a command shows people: results on stdout, errors and warnings on stderr in one line each."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from jiidm.errors import one_line


def tell_error(message: object) -> None:
    """The one place where errors are printed."""
    print(f"error: {one_line(str(message))}", file=sys.stderr)


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
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
            logger.removeHandler(handler)
