"""The one exception a user of the kit is meant to read."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave is wrong. The message is one line naming the file and the value."""
