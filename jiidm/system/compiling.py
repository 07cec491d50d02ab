"""What Jittor writes about compiling, past Python, as one line of ours.

Jittor holds Python's lock while it compiles, so another process reads what it writes.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections.abc import Callable

_BEGINNING = b"Compiling Operators("
_PROGRESS = re.compile(rb"\n?Compiling Operators\((\d+)/(\d+)\) used: *([\d.e+]+)s eta: *([\d.e+]+)s \r")
_MARKS = (b"\n", b"C")
"""Jittor's progress begins with one of these."""
_PATIENCE = 0.2
"""Seconds after which a beginning that nothing follows is passed on."""


def tell_in_one_line() -> None:
    """From now on read what libraries write to stderr, and tell Jittor's progress in one line; the rest is passed on.

    Python's own stderr goes where it went. Nothing happens where it is not the process's (in a notebook, in tests), and
    at a second call.
    """
    if sys.stderr is not sys.__stderr__ or sys.stderr is None or sys.stderr.fileno() != 2:
        return
    target = os.dup(2)
    reader, writer = os.pipe()
    if os.fork() == 0:
        _be_the_reader(reader, target)
    os.close(reader)
    sys.stderr.flush()
    os.dup2(writer, 2)
    os.close(writer)
    sys.stderr = open(  # noqa: SIM115
        target, "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors
    )


def _be_the_reader(reader: int, target: int) -> None:
    """Ends with the last process that writes. Signals to the command's group do not reach it."""
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.dup2(reader, 0)
        os.dup2(target, 1)  # whoever reads the command's stdout is not kept waiting
        os.dup2(target, 2)
        os.closerange(3, 1024)
        passed = Filter(lambda data: os.write(1, data), os.isatty(1))
        while True:
            if passed.waits and not select.select([0], [], [], _PATIENCE)[0]:
                passed.feed(b"", final=True)
            data = os.read(0, 1 << 16)
            if not data:
                break
            passed.feed(data)
        passed.feed(b"", final=True)
    finally:
        os._exit(0)


class Filter:
    """Passes bytes on to `write`, but for Jittor's progress, of which it makes one line."""

    def __init__(self, write: Callable[[bytes], object], terminal: bool):
        self._write, self._terminal = write, terminal
        self._held = b""
        self._last: re.Match[bytes] | None = None

    @property
    def waits(self) -> bool:
        """Whether something is held back, since what follows decides what it is."""
        return bool(self._held)

    def feed(self, data: bytes, final: bool = False) -> None:
        """final: nothing follows for now, so that nothing is held back."""
        left, self._held = self._held + data, b""
        while left:
            if progress := _PROGRESS.match(left):
                self._tell(progress)
                end = progress.end()
            elif self._last and left[:1] == b"\n":
                self._finish(self._last)
                end = 1
            elif not final and _begins(left):
                self._held = left
                return
            else:
                places = [place for mark in _MARKS if (place := left.find(mark, 1)) > 0]
                end = min(places, default=len(left))
                self._write(left[:end])
            left = left[end:]

    def _tell(self, progress: re.Match[bytes]) -> None:
        self._last = progress
        if self._terminal:
            done, count, seconds, rest = (float(part) for part in progress.groups())
            told = f"compiling Jittor's operators: {done:.0f} of {count:.0f}, {seconds:.0f} s, {rest:.0f} s left"
            self._write(f"\r\033[K{told}".encode())

    def _finish(self, progress: re.Match[bytes]) -> None:
        _, count, seconds, _ = (float(part) for part in progress.groups())
        told = f"compiled {count:.0f} of Jittor's operators in {seconds:.0f} s, which happens once\n"
        self._write(("\r\033[K" if self._terminal else "").encode() + told.encode())
        self._last = None


def _begins(data: bytes) -> bool:
    """Whether data may be the beginning of Jittor's progress."""
    starts = [mark + _BEGINNING for mark in (b"", b"\n")]
    return any(start.startswith(data) or data.startswith(start) and b"\r" not in data for start in starts)
