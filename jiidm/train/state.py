"""What a stage needs to go on: its state file, and the one before it for the case that the last is damaged."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ldm_jittor import checkpoint
from ldm_jittor.checkpoint import Checkpoint
from ldm_jittor.errors import CheckpointError
from ldm_jittor.files import atomic_path

logger = logging.getLogger(__name__)


def previous_state(path: Path) -> Path:
    """Where the state before the one at `path` lies."""
    return path.with_suffix(f".previous{path.suffix}")


def save_state(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write what a run needs to go on; the state that was there becomes the previous one.

    metadata: `step`, the steps done, among others. A complete state is at `path` at every moment after the first, and
    another one beside it after the second: the two are never one file under two names.
    Raises CheckpointError or OSError where it cannot be written; both name the file.
    """
    previous = previous_state(path)
    if path.exists():
        with atomic_path(previous) as temporary:
            temporary.unlink()
            _link(path, temporary)
            checkpoint.save(path, arrays, metadata)
    else:
        previous.unlink(missing_ok=True)  # of a stage that was started anew
        checkpoint.save(path, arrays, metadata)


def load_state(path: Path) -> Checkpoint | None:
    """What `save_state` wrote, or None where there is no such file yet.

    The previous state takes the place of a damaged one, with a warning. Raises CheckpointError where that is missing or
    damaged, too.
    """
    if not path.exists():
        return None
    try:
        return _read(path)
    except CheckpointError as error:
        previous = previous_state(path)
        try:
            stored = _read(previous)
        except CheckpointError:
            raise CheckpointError(f"{error}; remove the file to start this stage anew") from None
        logger.warning("%s; the state before it, step %d, takes its place", error, stored.metadata["step"])
        os.replace(previous, path)
        return stored


def steps_done(path: Path) -> int:
    """The steps that a state knows; 0 where there is none. Raises CheckpointError as `load_state` does."""
    stored = load_state(path)
    return stored.metadata["step"] if stored else 0


def remove_state(path: Path) -> None:
    """Remove the state of a finished stage."""
    for file in (path, previous_state(path)):
        file.unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint:
    stored = checkpoint.load(path)
    if not isinstance(stored.metadata.get("step"), int):
        raise CheckpointError(f"{path}: not the state of a training run")
    return stored


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # some file systems have no links
        shutil.copyfile(source, target)
