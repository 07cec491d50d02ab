"""safetensors files as named arrays, bfloat16 included, which numpy does not know."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from safetensors import safe_open

_KNOWN = ("F16", "F32", "F64", "BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64")


_ORDER = ("BOOL", "U8", "I8", "I16", "U16", "F16", "I32", "U32", "F32", "F64", "I64", "U64")
"""The types that are written, by their rank in safetensors' own files: the widest come first there."""
_KINDS = {
    np.dtype("bool"): "BOOL",
    **{np.dtype(f"float{bits}"): f"F{bits}" for bits in (16, 32, 64)},
    **{np.dtype(f"int{bits}"): f"I{bits}" for bits in (8, 16, 32, 64)},
    **{np.dtype(f"uint{bits}"): f"U{bits}" for bits in (8, 16, 32, 64)},
}


class UnreadType(ValueError):
    """An array is of a type that is not read."""


def read(path: str | os.PathLike, file: safe_open) -> dict[str, np.ndarray]:
    """The arrays of the file at `path`, opened as `file`, by name; bfloat16 becomes float32.

    Raises SafetensorError for a damaged file, UnreadType for the eight-bit floats and the like.
    """
    kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    unknown = [f"{name} is {kind}" for name, kind in kinds.items() if kind not in (*_KNOWN, "BF16")]
    if unknown:
        raise UnreadType(f"{unknown[0]} ({len(unknown)} such in all): a type that is not read; save it as float32")
    wide = _read_bfloat16(path) if "BF16" in kinds.values() else {}
    return {name: wide[name] if name in wide else file.get_tensor(name) for name in kinds}


def write(file: BinaryIO, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays as safetensors itself lays them out. Its own function makes a temporary file that outlives a kill.

    Raises KeyError for an array of another type than `_ORDER` has.
    """
    kinds = {name: _KINDS[array.dtype.newbyteorder("=")] for name, array in arrays.items()}
    names = sorted(arrays, key=lambda name: (-_ORDER.index(kinds[name]), name.encode()))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        start, end = end, end + arrays[name].nbytes
        header[name] = {"dtype": kinds[name], "shape": list(arrays[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data are aligned
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        little = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), order="C", copy=False)
        file.write(little.reshape(-1).view(np.uint8).data)


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16 [N], as float32. bfloat16 is float32 without its lower half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _read_bfloat16(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The bfloat16 arrays of a file that safetensors has accepted. The header gives each array's place behind it."""
    found = {}
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        for name, entry in json.loads(file.read(length)).items():
            if entry.get("dtype") == "BF16":
                start, end = entry["data_offsets"]
                file.seek(8 + length + start)
                found[name] = widened(np.frombuffer(file.read(end - start), "<u2")).reshape(entry["shape"])
    return found
