"""What users of the kit read: exceptions and warnings. Each is one line."""

from __future__ import annotations

import functools
import logging
import signal

from ldm_jittor.errors import one_line


class InputError(ValueError):
    """The user gave something wrong. The message is one line that names the file and the value."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end. `status` is its exit status, 128 and the signal's number."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@functools.lru_cache(maxsize=4096)  # a photo is read at many steps
def warn_once(message: str) -> None:
    """Log a warning of one line, the first time that this process has it to say."""
    logging.getLogger("jiidm").warning("%s", one_line(message))
