"""Jittor's errors as one line."""

from __future__ import annotations

import re

_CAUSE = re.compile(r"reason\]?:", re.IGNORECASE)
_COLOUR, _PLACE = re.compile(r"\x1b\[[\d;]*m"), re.compile(r"^\[[a-z] [^\]]*\]\s*")
LONGEST = 160


def reason(error: BaseException | str) -> str:
    """The innermost cause that an error of Jittor, or what a process has written of it, names; else its last line.

    Below the cause Jittor writes advice on its own debugging, and around it the paths of what it compiled.
    """
    text = _COLOUR.sub("", str(error))
    causes = _CAUSE.split(text)[1:]
    lines = [line.strip() for line in (causes or [text])[-1].splitlines() if line.strip()]
    found = _PLACE.sub("", lines[0 if causes else -1]) if lines else ""
    return found[:LONGEST] or type(error).__name__
