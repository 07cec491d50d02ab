"""Checkpoint files of Jittor and PyTorch as named arrays, read without running what they hold.

Four layouts: what `jt.save` writes, with a checksum behind the pickle; a plain pickled dict of arrays; PyTorch's zip
(`archive/data.pkl` beside one `archive/data/<key>` per storage); and PyTorch's layout before 1.6, where the storages
follow the pickle.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pickle import UnpicklingError
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np

from ldm_jittor.formats import pickles
from ldm_jittor.formats.pickles import Record
from ldm_jittor.formats.safetensors_files import widened
from ldm_jittor.formats.wrappers import is_average

ZIP_START = b"PK\x03\x04"
PICKLE_STARTS = (b"\x80", b"(", b"c", b"}")
"""The protocol's number, or the first instruction of protocols 0 and 1."""
_JITTOR_END = b"HCAJSLHD"
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGES = {
    **{"DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bf16"},
    **{"LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1"},
    **{"ByteStorage": "u1", "BoolStorage": "?"},
}
_NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")
_WRAPPERS = (
    *("jittor.jittor_core.Var", "jittor_core.Var", "jittor.Var"),
    *("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"),
)
_MAX_DIMENSIONS = 32
_MAX_NAME = 500
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError),  # what zipfile raises
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError),
)


class Storage(NamedTuple):
    """The flat memory behind one or more tensors."""

    key: str
    kind: str
    length: int


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a file by name: those of its `state_dict` and averages if it has one, else all.

    Nested names are joined by dots. A PyTorch module that was saved whole counts as the dict of its arrays. Only
    storages of such arrays are read. Arrays may be read-only, and bfloat16 becomes float32.
    Raises OSError where the file cannot be opened, and UnpicklingError, with one line, for a file that is damaged, asks
    to run code, or holds no arrays.
    """
    with open(path, "rb") as file:
        try:
            start = file.read(len(ZIP_START))
            file.seek(0)
            return _read_torch_zip(file) if start == ZIP_START else _read_pickle(file)
        except _DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UnpicklingError(f"damaged checkpoint ({pickles.shown(reason)})") from None


def _read_pickle(file: BinaryIO) -> dict[str, np.ndarray]:
    _verify_checksum(file)
    tree = pickles.read(file)
    if isinstance(tree, int) and tree == _TORCH_MAGIC:
        return _read_torch_legacy(file)
    return _named_arrays(tree, _no_numbers)


def _verify_checksum(file: BinaryIO) -> None:
    """Jittor ends its pickles with their SHA-1 and a mark."""
    size = file.seek(0, os.SEEK_END)
    length = size - len(_JITTOR_END) - hashlib.sha1().digest_size
    file.seek(max(length, 0))
    end = file.read()
    file.seek(0)
    if length < 0 or not end.endswith(_JITTOR_END):
        return
    digest = hashlib.sha1()
    for start in range(0, length, 1 << 20):
        digest.update(file.read(min(1 << 20, length - start)))
    file.seek(0)
    if digest.digest() != end[: digest.digest_size]:
        raise UnpicklingError("its checksum does not match its content: damaged, copy it again")


def _read_torch_zip(file: BinaryIO) -> dict[str, np.ndarray]:
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        if not stored or sum(entry.file_size for entry in entries) > size:
            raise UnpicklingError("holds compressed data, as no PyTorch checkpoint does")
        found = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(found) != 1:
            raise UnpicklingError("a zip file without data.pkl: no PyTorch checkpoint")
        folder = found[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise UnpicklingError("written on a big-endian machine, which is not supported")

        @cache
        def numbers(storage: Storage) -> np.ndarray:
            return _numbers(storage, archive.read(f"{folder}data/{storage.key}"))

        return _named_arrays(pickles.read(io.BytesIO(archive.read(found[0])), _storage), numbers)


def _read_torch_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    """The rest of a file behind its magic number."""
    pickles.read(file)  # the protocol's version
    if pickles.read(file).get("little_endian") is not True:
        raise UnpicklingError("written on a big-endian machine, which is not supported")
    found: dict[str, Storage] = {}

    def remember(reference: Any) -> Storage:
        storage = _storage(reference)
        return found.setdefault(storage.key, storage)

    tree = pickles.read(file, remember)
    memory = {}
    for key in pickles.read(file):
        storage = found[_key(key)]
        if int.from_bytes(file.read(8), "little") != storage.length:
            raise UnpicklingError(f"damaged: storage {storage.key} has another length than its tensors")
        memory[storage] = _numbers(storage, file.read(storage.length * _dtype(storage).itemsize))
    return _named_arrays(tree, memory.__getitem__)


def _storage(reference: Any) -> Storage:
    """PyTorch's persistent id of a storage."""
    if reference[0] != "storage":
        raise UnpicklingError("holds a whole module: save its state_dict")
    _, kind, key, _, count, *view = reference
    if view not in ([], [None]):
        raise UnpicklingError("holds views of storages, as PyTorch before 0.4 wrote them: save it again")
    if kind.name not in _STORAGES:
        raise UnpicklingError(f"holds a {kind.name}, which is not supported")
    return Storage(_key(key), _STORAGES[kind.name], *_sizes((count,)))


def _key(key: Any) -> str:
    if not isinstance(key, (str, int)):
        raise UnpicklingError("damaged: a storage without a name")
    return pickles.shown(str(key))


def _sizes(values: Any) -> tuple[int, ...]:
    """`values`, once it is clear that they are sides, steps or counts, and not too many."""
    if not isinstance(values, tuple) or len(values) > _MAX_DIMENSIONS:
        raise UnpicklingError("damaged: an array without a shape")
    if not all(type(value) is int and 0 <= value < 1 << 48 for value in values):
        raise UnpicklingError("damaged: an array with a side that is no size")
    return values


def _dtype(storage: Storage) -> np.dtype:
    return np.dtype("<u2" if storage.kind == "bf16" else f"<{storage.kind}")


def _numbers(storage: Storage, content: bytes) -> np.ndarray:
    dtype = _dtype(storage)
    if len(content) != storage.length * dtype.itemsize:
        raise UnpicklingError(f"damaged: storage {storage.key} is cut short")
    numbers = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
    if storage.kind != "bf16":
        return numbers
    return widened(numbers)


def _no_numbers(storage: Storage) -> np.ndarray:
    raise UnpicklingError("damaged: a tensor without its storage")


def _named_arrays(tree: Any, numbers: Callable[[Storage], np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that a described pickle holds in its dicts; `numbers` reads a storage."""
    tree = _parts(tree)
    if tree is not None and (state := _parts(tree.get("state_dict"))) is not None:
        tree = {**state, **{key: part for key, part in tree.items() if isinstance(key, str) and is_average(key)}}
    latin_1 = cache(lambda text: text.encode("latin-1"))  # once, however many arrays share a text
    found: dict[str, np.ndarray] = {}
    seen: set[int] = set()
    pending = [("", tree)] if tree is not None else []
    for prefix, node in pending:
        for key, value in node.items():
            if not isinstance(key, str) or len(prefix) + len(key) > _MAX_NAME:
                continue
            parts = _parts(value)
            if parts is not None and id(value) not in seen:
                seen.add(id(value))  # a dict may hold itself
                pending.append((f"{prefix}{key}.", parts))
            elif isinstance(value, Record):
                array = _array(value, numbers, latin_1)
                if array is not None:
                    found[pickles.shown(prefix + key)] = array
    if not found:
        raise UnpicklingError("holds no named arrays")
    return found


def _parts(node: Any) -> dict[Any, Any] | None:
    """The content of a dict, or of a PyTorch module that was saved whole; None for anything else."""
    if isinstance(node, dict):
        return node
    if not isinstance(node, Record) or not isinstance(node.state, dict) or "_parameters" not in node.state:
        return None
    held = (node.state.get(kind) for kind in ("_parameters", "_buffers", "_modules"))
    return {key: value for part in held if isinstance(part, dict) for key, value in part.items()}


def _array(
    record: Record, numbers: Callable[[Storage], np.ndarray], latin_1: Callable[[str], bytes]
) -> np.ndarray | None:
    """The array that the record stands for, or None where it stands for no array."""
    if str(record.kind) in _WRAPPERS:
        record = record.arguments[0]
    match str(record.kind):
        case "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2":
            storage, offset, size, stride, *_ = record.arguments
            (start,) = _sizes((offset,))
            return _tensor(numbers(storage), start, _sizes(size), _sizes(stride))
        case "numpy.core.multiarray._reconstruct":
            _, shape, dtype, fortran, content = record.state
            return _ndarray(_bytes(content, latin_1), dtype, _sizes(shape), "F" if fortran else "C")
        case "numpy.core.numeric._frombuffer":
            content, dtype, shape, order = record.arguments
            return _ndarray(_bytes(content, latin_1), dtype, _sizes(shape), order)
    return None


def _tensor(numbers: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    """A view of a storage, once it is clear that it stays inside and repeats nothing."""
    if len(size) != len(stride):
        raise UnpicklingError(f"damaged: a tensor of size {size} with strides {stride}")
    last = offset + sum((side - 1) * step for side, step in zip(size, stride))
    if math.prod(size) and last >= len(numbers):
        raise UnpicklingError(f"damaged: a tensor of size {size} in a storage of {len(numbers)} numbers")
    if math.prod(size) > len(numbers):
        raise UnpicklingError(f"holds an expanded tensor, {len(numbers)} numbers as {size}: save its contiguous copy")
    strides = [step * numbers.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(numbers[offset:], size, strides, writeable=False)


def _bytes(content: Any, latin_1: Callable[[str], bytes]) -> Any:
    if isinstance(content, Record) and str(content.kind) == "_codecs.encode":
        content = content.arguments[0]  # how protocols up to 2 write bytes
    return latin_1(content) if isinstance(content, str) else content


def _ndarray(content: Any, dtype: Record, shape: tuple[int, ...], order: Literal["C", "F"]) -> np.ndarray:
    if not _NUMBERS.fullmatch(dtype.arguments[0]):
        raise UnpicklingError(f"holds an array of {pickles.shown(dtype.arguments[0])}: only numbers are read")
    described = np.dtype(dtype.arguments[0]).newbyteorder(">" if dtype.state and dtype.state[1] == ">" else "<")
    if math.prod(shape) * described.itemsize != len(content):
        raise UnpicklingError(f"damaged: {len(content)} bytes for an array of {shape} numbers")
    return np.ndarray(shape, described, content, order=order)
