"""The core's own exception, which can be caught without loading Jittor."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint file cannot be used. The message is one line naming the file and what is wrong."""
