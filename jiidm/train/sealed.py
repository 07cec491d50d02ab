"""Entries of a run's lists in JSON, each with a checksum: a flipped bit must not decide which weights are best."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

CHECKSUM = "checksum"


def seal(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with the checksum of its values."""
    return {**entry, CHECKSUM: _digest(entry)}


def unseal(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry as it was sealed. One without checksum, of an earlier version, is taken as it is.

    Raises ValueError where its values are others than those that were sealed.
    """
    values = {key: value for key, value in entry.items() if key != CHECKSUM}
    if CHECKSUM in entry and entry[CHECKSUM] != _digest(values):
        raise ValueError(f"damaged or changed by hand: without its {CHECKSUM} this entry is taken as it is")
    return values


def _digest(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]
