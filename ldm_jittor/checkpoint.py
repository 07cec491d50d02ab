"""Checkpoints: safetensors files of named arrays, with config and provenance as JSON in their metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jittor as jt
import numpy as np
from jittor import nn
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

METADATA_KEY = "ldm_jittor"
"""All metadata is one JSON text: safetensors writes several keys in random order, and equal models would differ."""


class CheckpointError(ValueError):
    """A checkpoint file cannot be used. The message is one line naming the file and what is wrong."""


class Checkpoint(NamedTuple):
    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]


def save(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write arrays and JSON-able metadata to `path`, which appears only when it is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        save_file(contiguous, temporary, {METADATA_KEY: json.dumps(metadata)})
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # safetensors leaves a file that only its owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike) -> Checkpoint:
    """Read a safetensors checkpoint. Raises CheckpointError when it is missing, truncated or not ours."""
    metadata = load_metadata(path)
    with safe_open(path, framework="numpy") as file:
        return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, metadata)  # noqa: SIM118


def load_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Only the metadata, without reading the arrays. Raises CheckpointError as `load` does."""
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors checkpoint ({error})") from None


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

    Raises CheckpointError naming `source` and what is missing, surplus or of another shape, before anything changes.
    """
    parameters = dict(module.named_parameters())
    faults = [f"{name} is missing" for name in parameters if name not in arrays]
    faults += [f"{name} is surplus" for name in arrays if name not in parameters]
    faults += [
        f"{name} is {'x'.join(map(str, arrays[name].shape))}, not {'x'.join(map(str, value.shape))}"
        for name, value in parameters.items()
        if name in arrays and tuple(arrays[name].shape) != tuple(value.shape)
    ]
    if faults:
        more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise CheckpointError(f"{source} does not fit the model: {'; '.join(faults[:4])}{more}")
    for name, value in parameters.items():
        value.assign(jt.array(arrays[name].astype(np.float32)))


def average(states: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Mean of several states, array by array (IIDM's eq. 7). Raises CheckpointError when names or shapes differ."""
    first = states[0]
    for state in states[1:]:
        differing = {name for name in {*first, *state} if np.shape(first.get(name)) != np.shape(state.get(name))}
        differing |= set(first) ^ set(state)
        if differing:
            raise CheckpointError(f"the checkpoints to average differ in {sorted(differing)[0]}")
    return {
        name: np.mean([state[name] for state in states], axis=0, dtype=np.float64).astype(array.dtype)
        for name, array in first.items()
    }
