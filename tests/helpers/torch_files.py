"""PyTorch's checkpoint files written without PyTorch, right ones and wrong ones. tests/parity reads real ones."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

KINDS = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage", "uint16": "BFloat16Storage"}


class Name(NamedTuple):
    module: str
    name: str


class Call(NamedTuple):
    function: Name
    arguments: tuple


class Reference(NamedTuple):
    """A persistent id."""

    value: tuple


def pickled(value: Any) -> bytes:
    """The instructions of protocol 2 that build `value`."""
    match value:
        case Name(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return pickled(function) + pickled(arguments) + b"R"
        case Reference(inner):
            return pickled(inner) + b"Q"
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            content = value.to_bytes(16, "little", signed=True)
            return b"\x8a\x10" + content
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(pickled, value)) + b"t"
        case list():
            return b"](" + b"".join(map(pickled, value)) + b"e"
        case dict():
            return b"}(" + b"".join(pickled(item) for pair in value.items() for item in pair) + b"u"
    raise TypeError(value)


def storage(key: str | int, array: np.ndarray, *view: object) -> Reference:
    return Reference(("storage", Name("torch", KINDS[str(array.dtype)]), key, "cpu", array.size, *view))


def tensor(memory: Reference, size: tuple, stride: tuple, offset: int = 0) -> Call:
    hooks = Call(Name("collections", "OrderedDict"), ())
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), (memory, offset, size, stride, False, hooks))


def contiguous(key: str | int, array: np.ndarray, *view: object) -> Call:
    strides = tuple(step // array.itemsize for step in array.strides)
    return tensor(storage(key, array, *view), array.shape, strides)


def write_zip(path: Path, tree: Any, storages: Mapping[str, np.ndarray], **entries: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickled(tree) + b".")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)


def write_legacy(path: Path, tree: Any, storages: Mapping[str, np.ndarray], little_endian: bool = True) -> None:
    system = {"protocol_version": 1001, "little_endian": little_endian}
    parts = [0x1950A86A20F9469CFC6C, 1001, system, tree, [*storages]]
    content = b"".join(b"\x80\x02" + pickled(part) + b"." for part in parts)
    for array in storages.values():
        content += struct.pack("<q", array.size) + array.tobytes()
    path.write_bytes(content)


def save(path: Path, state: Mapping[str, np.ndarray], **beside: Any) -> None:
    """What `torch.save({"state_dict": state, **beside}, path)` writes; without `beside` the state itself."""
    storages = {str(number): np.asarray(array, order="C") for number, array in enumerate(state.values())}
    tensors = {name: contiguous(key, array) for name, (key, array) in zip(state, storages.items())}
    write_zip(path, {"state_dict": tensors, **beside} if beside else tensors, storages)
