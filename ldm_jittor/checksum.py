"""A checksum of named arrays and of the metadata beside them. A flipped bit in any of them changes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{array.dtype.name} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def array_digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """`array_digest` of each array by its name, on all cores."""
    with ThreadPoolExecutor() as pool:  # hashlib lets other threads run
        return dict(zip(arrays, pool.map(array_digest, arrays.values())))


def checksum(digests: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """SHA-256 of the JSON of metadata, then of each array's name and `array_digest`, sorted by name.

    Two levels, because an average sees its arrays one at a time, in the file's order.
    """
    arrays = [[name, digests[name]] for name in sorted(digests)]
    return hashlib.sha256(json.dumps([dict(metadata), arrays]).encode()).hexdigest()
