"""Checkpoints: safetensors files of named arrays, with config and provenance as JSON in their metadata.

Files of Jittor, PyTorch and diffusers are read too, but never written.
"""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import jittor as jt
import numpy as np
from jittor import nn
from safetensors import SafetensorError, safe_open

from ldm_jittor.checksum import array_digests, checksum
from ldm_jittor.errors import CheckpointError
from ldm_jittor.files import atomic_path, parse_json
from ldm_jittor.formats import safetensors_files, torch_files
from ldm_jittor.formats.safetensors_files import UnreadType
from ldm_jittor.formats.wrappers import unwrapped

logger = logging.getLogger(__name__)

METADATA_KEY = "ldm_jittor"
"""All metadata is one JSON text. safetensors writes several keys in random order, so equal models would differ."""
CHECKSUM_KEY = "checksum"
"""The entry that `save` adds to the metadata and `load` takes out of them."""
DIFFUSERS_STEM = "diffusion_pytorch_model"
"""The name of the weights in a folder that diffusers saved."""
_DIFFUSERS_FILES = tuple(f"{DIFFUSERS_STEM}{suffix}" for suffix in (".safetensors", ".fp16.safetensors", ".bin"))


class Checkpoint(NamedTuple):
    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]


def save(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write arrays, JSON-able metadata and a checksum of both to `path`, which appears only when it is complete.

    Raises CheckpointError for an array with NaN or infinity, and where the file cannot be written.
    """
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    require_finite(contiguous, f"{path}: not written")
    digests = array_digests(contiguous)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            told = {METADATA_KEY: with_checksum(metadata, checksum(digests, metadata))}
            safetensors_files.write(file, contiguous, told)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from None


def load(path: str | os.PathLike) -> Checkpoint:
    """Read a checkpoint: safetensors, or without metadata a pickle of Jittor or of arrays, a PyTorch file, a diffusers
    folder.

    The content tells the format. No code in a file is run. A file that `save` wrote has to have its checksum.
    Raises CheckpointError when it is missing, damaged, of no such format, or asks to run code.
    """
    path = weights_file(path)
    safetensors = _open(path)
    try:
        if safetensors is None:
            return Checkpoint(torch_files.read(path), {})
        with safetensors as file:
            metadata, recorded = _metadata(path, file)
            arrays = safetensors_files.read(path, file)
    except (UnpicklingError, SafetensorError, UnreadType) as error:
        raise CheckpointError(f"{path}: {error}") from None
    digests = {} if recorded is None else array_digests(arrays)
    _compare(path, digests, metadata, recorded)
    return Checkpoint(arrays, metadata)


def load_network(path: str | os.PathLike, mark: str) -> dict[str, np.ndarray]:
    """The arrays of the network that has `mark` among its names, freed from what a training script put around them.

    Raises CheckpointError as `load` does.
    """
    arrays = load(path).arrays
    try:
        return unwrapped(arrays, mark)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None


def load_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Only the metadata, without reading the arrays; empty for a format that has none.

    Raises CheckpointError for a file that shows, without reading it all, that it is no checkpoint.
    """
    path = weights_file(path)
    safetensors = _open(path)
    if safetensors is None:
        return {}
    with safetensors as file:
        return _metadata(path, file)[0]


def weights_file(path: str | os.PathLike) -> Path:
    """`path` itself, or the weights in it where it is a folder of diffusers."""
    path = Path(path)
    if not path.is_dir():
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise CheckpointError(f"{path}: not a regular file")
        return path
    found = [path / name for name in _DIFFUSERS_FILES if (path / name).is_file()]
    if not found:
        raise CheckpointError(f"{path}: a folder without {_DIFFUSERS_FILES[0]}")
    return found[0]


def _open(path: Path) -> safe_open | None:
    """The opened safetensors file, or None for one that `torch_files` reads. Raises CheckpointError for others."""
    try:
        try:
            return safe_open(path, framework="numpy")
        except SafetensorError as error:
            with open(path, "rb") as file:
                start = file.read(9)
            if start.startswith((torch_files.ZIP_START, *torch_files.PICKLE_STARTS)):
                return None
            has_header = start[8:] == b"{"  # eight bytes of length, then JSON
            told = str(error) if has_header else "neither safetensors, nor PyTorch's, nor a pickle"
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except OSError as error:
        told = str(error)
    raise CheckpointError(f"{path}: not a readable checkpoint ({told})")


def _metadata(path: Path, file: safe_open) -> tuple[dict[str, Any], str | None]:
    """The metadata, and the checksum that they were saved with."""
    try:
        metadata = parse_json((file.metadata() or {}).get(METADATA_KEY, "{}"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error})") from None
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: not a readable checkpoint (its metadata are no mapping)")
    return metadata, metadata.pop(CHECKSUM_KEY, None)


def with_checksum(metadata: Mapping[str, Any], value: str) -> str:
    """The text that a file keeps under `METADATA_KEY`. All checksums are of one length."""
    return json.dumps({**metadata, CHECKSUM_KEY: value})


def verify(path: str | os.PathLike, digests: Mapping[str, str]) -> None:
    """Compare the digests of all arrays that were read from a safetensors file with its checksum.

    Raises CheckpointError where they differ, and for a file of another format.
    """
    file = _open(Path(path))
    if file is None:
        raise CheckpointError(f"{path}: not a safetensors checkpoint")
    with file:
        _compare(path, digests, *_metadata(Path(path), file))


def _compare(
    path: str | os.PathLike, digests: Mapping[str, str], metadata: Mapping[str, Any], recorded: str | None
) -> None:
    if recorded is None:
        _tell_of_no_checksum(os.fspath(path))
    elif checksum(digests, metadata) != recorded:
        raise CheckpointError(f"{path}: damaged, for its content does not have the checksum that it was saved with")


@functools.cache  # some files are read several times
def _tell_of_no_checksum(path: str) -> None:
    logger.info("%s: has no checksum, so damage to it would not be noticed", path)


def with_prefix(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names `x` -> `prefix.x`, so that several modules share a file."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def under_prefix(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays named `prefix.x`, as `x`."""
    return {name[len(prefix) + 1 :]: array for name, array in arrays.items() if name.startswith(f"{prefix}.")}


def state_dict(module: nn.Module) -> dict[str, np.ndarray]:
    """A module's parameters as numpy arrays."""
    return {name: value.numpy() for name, value in module.named_parameters()}


def load_into(module: nn.Module, arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Give every parameter of `module` its array, as float32. All names and shapes must agree.

    Raises CheckpointError before anything changes. It names `source`, and what is missing, surplus, of another shape or
    not finite.
    """
    faults = misfits(module, arrays)
    if faults:
        raise CheckpointError(f"{source} does not fit the model: {listed(faults)}")
    for name, value in module.named_parameters():
        value.assign(jt.array(arrays[name].astype(np.float32)))


def require_finite(arrays: Mapping[str, np.ndarray], told: str) -> None:
    """Raises CheckpointError, its message begun with `told`, for arrays with NaN or infinity."""
    faults = [f"{name} is not finite" for name, array in arrays.items() if not np.isfinite(array).all()]
    if faults:
        raise CheckpointError(f"{told}: {listed(faults)}")


def misfits(module: nn.Module, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Every fault of `arrays`: missing, surplus or of another shape in `module`, or with NaN or infinity as float32.

    A training that diverged leaves the latter.
    """
    shapes = {name: shown(value.shape) for name, value in module.named_parameters()}
    faults = mismatches({name: shown(array.shape) for name, array in arrays.items()}, shapes)
    with np.errstate(over="ignore"):
        finite = {
            name: np.isfinite(arrays[name].astype(np.float32, copy=False)).all() for name in shapes if name in arrays
        }
    return faults + [f"{name} is not finite" for name in finite if not finite[name]]


def mismatches(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Names that are missing or surplus, and names whose description, such as a shape, differs."""
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is surplus" for name in found if name not in expected]
    both = [name for name in expected if name in found]
    return faults + [f"{name} is {found[name]}, not {expected[name]}" for name in both if found[name] != expected[name]]


def shown(shape: Sequence[int]) -> str:
    """A shape as messages have it."""
    return "x".join(map(str, shape)) or "a scalar"


def listed(faults: Sequence[str]) -> str:
    """Up to four faults in one line, and how many more there are."""
    more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
    return "; ".join(faults[:4]) + more
