"""The core's own exception, which can be caught without loading Jittor. Its message is one line."""

from __future__ import annotations

import unicodedata

_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, halves of pairs, line and paragraph ends."""


class CheckpointError(ValueError):
    """A checkpoint file cannot be used. The message is one line naming the file and what is wrong."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """`text` with control characters written as escapes, so that no name can break the line or steer a terminal."""
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _UNSHOWN else character for character in text
    )
