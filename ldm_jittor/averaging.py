"""Mean of checkpoint files, one array at a time: memory is that of a few arrays, whatever the files' size.

safetensors reads lazily, but it writes only what is all in memory. The result has the layout of the first file. So its
header is that file's with other metadata, and the data follow in the same order.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ldm_jittor import checkpoint
from ldm_jittor.checkpoint import METADATA_KEY, listed, mismatches, require_finite
from ldm_jittor.checksum import array_digest, checksum
from ldm_jittor.errors import CheckpointError
from ldm_jittor.files import atomic_path

Layout = dict[str, dict[str, Any]]
"""Name -> dtype, shape and data_offsets, as the header of a safetensors file has them."""

_KNOWN = ("F16", "F32", "F64", "BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")


def average(
    sources: Sequence[str | os.PathLike],
    target: str | os.PathLike,
    weights: Sequence[float],
    metadata: Mapping[str, Any],
    on_array: Callable[[int], object] | None = None,
    finish: Callable[[str, np.ndarray], np.ndarray] = lambda name, mean: mean,
) -> None:
    """Write the weighted mean of safetensors files (IIDM's eq. 7) to `target`, which appears only when it is complete.

    It gets a checksum, and the checksums of the sources are compared, as `checkpoint.save` and `load` do.

    weights: one per file, as `normalised` gives them. Sums are taken in float64, and the stored dtype is kept. Integers
    are no weights and have to be equal. `on_array(nbytes)` is called after each array. `finish(name, mean)` gives what
    is written in the place of a mean; it sees them in the order of the file, which is that of the names for each dtype.
    Raises CheckpointError where `common_layout` does, for integer arrays that differ, for NaN or infinity, and for a
    damaged file.
    """
    layout = common_layout(sources)
    readers = [_Reader(source) for source in sources]
    digests = {}
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        file.write(_header(layout, metadata, "0" * 64))  # the place of the checksum, which is known in the end
        for name in sorted(layout, key=lambda name: layout[name]["data_offsets"]):
            mean = finish(name, _mean(name, readers, weights))
            require_finite({name: mean}, f"{target}: not written")
            digests[name] = array_digest(mean)
            file.write(mean.tobytes())
            if on_array is not None:
                on_array(mean.nbytes)
        for reader in readers:
            checkpoint.verify(reader.path, reader.digests)
        file.seek(0)
        file.write(_header(layout, metadata, checksum(digests, metadata)))


def normalised(weights: Sequence[float]) -> list[float]:
    """The weights divided by their sum. Raises ValueError unless all are positive and finite, and so is their sum."""
    for weight in weights:
        if not 0 < weight < math.inf:
            raise ValueError(f"weight {weight} is not a positive number")
    try:
        total = math.fsum(weights)
    except OverflowError:
        raise ValueError("the weights are too large to be summed") from None
    return [weight / total for weight in weights]


def common_layout(sources: Sequence[str | os.PathLike]) -> Layout:
    """The first file's layout.

    Raises CheckpointError for a file that is no safetensors checkpoint, that has an array which cannot be averaged, or
    that differs from the first in names, dtypes or shapes.
    """
    first = _layout(sources[0])
    unknown = [f"{name} is {entry['dtype']}" for name, entry in first.items() if entry["dtype"] not in _KNOWN]
    if unknown:
        raise CheckpointError(f"{sources[0]} cannot be averaged: {listed(unknown)}")
    for source in sources[1:]:
        if faults := mismatches(_described(_layout(source)), _described(first)):
            raise CheckpointError(f"{source} does not fit {sources[0]}: {listed(faults)}")
    return first


def _layout(path: str | os.PathLike) -> Layout:
    try:
        with safe_open(path, framework="numpy"), open(path, "rb") as file:  # the first judges what the second reads
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (SafetensorError, OSError) as error:
        told = f"{path}: not a safetensors checkpoint ({error}); other formats have to be converted first"
        raise CheckpointError(told) from None
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


class _Reader:
    """A file that is read array by array, and what `checkpoint.verify` needs when all have been."""

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self.digests: dict[str, str] = {}

    def read(self, name: str) -> np.ndarray:
        with safe_open(self.path, framework="numpy") as file:  # anew: a mapped file keeps in memory what was read
            array = file.get_tensor(name)
        require_finite({name: array}, str(self.path))
        self.digests[name] = array_digest(array)
        return array


def _header(layout: Layout, metadata: Mapping[str, Any], value: str) -> bytes:
    """Eight bytes of length, then JSON, padded so that the data are aligned."""
    told = {METADATA_KEY: checkpoint.with_checksum(metadata, value)}
    text = json.dumps({"__metadata__": told, **layout}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _mean(name: str, readers: Sequence[_Reader], weights: Sequence[float]) -> np.ndarray:
    first = readers[0].read(name)
    if not np.issubdtype(first.dtype, np.floating):
        for reader in readers[1:]:
            if not np.array_equal(reader.read(name), first):
                told = f"{reader.path} does not fit {readers[0].path}: {name} is of integers and differs"
                raise CheckpointError(told)
        return first
    total = np.multiply(first, weights[0], dtype=np.float64)
    for reader, weight in zip(readers[1:], weights[1:]):
        total += np.multiply(reader.read(name), weight, dtype=np.float64)
    return total.astype(first.dtype)


def _described(layout: Layout) -> dict[str, str]:
    """Each array's dtype and shape in words."""
    return {name: f"{e['dtype']} {'x'.join(map(str, e['shape'])) or 'scalar'}" for name, e in layout.items()}
