"""One checkpoint from several: the weighted mean of files whose weights mean the same (IIDM's Eq. 7)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.errors import InputError
from jiidm.model.files import ModelFile
from ldm_jittor import averaging, checkpoint


def write_mean(
    sources: Sequence[Path],
    target: str | os.PathLike,
    weights: Sequence[float],
    notes: Sequence[Mapping[str, Any]] | None = None,
    config: Config | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write the mean of `sources` to `target`, with the name, SHA-256 and weight of each in its provenance.

    weights: positive, of sum one. notes: further provenance of each source. config: takes the place of the first
    source's. provenance: takes the place of what all sources' say alike. Raises CheckpointError or InputError for files
    that do not fit together, and for a target that cannot be written.
    """
    averaging.common_layout(sources)
    files = [ModelFile(source) for source in sources]
    metadata = _common_metadata(files)
    if config is not None:
        metadata["config"] = configs.to_dict(config)
    sizes = [source.stat().st_size for source in sources]
    parts: list[dict[str, Any]] = []
    with tqdm(total=sum(sizes) + sizes[0], desc="averaging", unit="B", unit_scale=True) as progress:
        for file, weight, size, note in zip(files, weights, sizes, notes or [{}] * len(sources)):
            parts.append({"file": file.path.name, "sha256": file.sha256, "weight": weight, **note})
            progress.update(size)
        metadata["provenance"] = {**(provenance or _common_provenance(files)), "average_of": parts}
        try:
            averaging.average(sources, target, weights, metadata, progress.update, SpectralVectors())
        except OSError as error:
            raise InputError(f"{target}: cannot be written ({error.strerror})") from None


class SpectralVectors:
    """Gives each mean of GANs' weights the singular vectors that its spectral norm needs.

    They lie beside a weight as `weight_u` and `weight_v`. The mean of several weights' vectors is too short for the
    mean weight, so the norm would leave it too large. Other arrays pass.
    """

    def __init__(self):
        self._found: dict[str, np.ndarray] = {}

    def __call__(self, name: str, mean: np.ndarray) -> np.ndarray:
        stem, separator, last = name.rpartition("weight_")
        if separator and last == "orig":
            self._found = {stem: mean}
        elif separator and last == "u":
            u, v = singular_vectors(self._found.pop(stem))
            self._found = {f"{stem}v": v.astype(mean.dtype)}
            return u.astype(mean.dtype)
        elif separator and last == "v":
            return self._found.pop(f"{stem}v")
        return mean


def singular_vectors(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first singular vectors [O] and [C*K*K] of a weight [O,C,K,K]."""
    matrix = weight.reshape(len(weight), -1).astype(np.float64)
    u = np.linalg.eigh(matrix @ matrix.T)[1][:, -1]
    v = u @ matrix
    return u, v / np.linalg.norm(v)


def _common_metadata(files: Sequence[ModelFile]) -> dict[str, Any]:
    """The first file's config, or a segmenter's preprocessing, if it has one.

    Raises InputError where another file's gives the weights another meaning. How the models were trained and are used
    may differ.
    """
    first, *others = map(_meaning, files)
    for file, other in zip(files[1:], others):
        differing = [key for key in {**first, **other} if first.get(key) != other.get(key)]
        if differing:
            told = [f"{key} is {other.get(key)!r}, not {first.get(key)!r}" for key in differing]
            raise InputError(f"{file.path} does not fit {files[0].path}: {checkpoint.listed(told)}")
    return {key: files[0].metadata[key] for key in ("config", "preprocessing") if key in files[0].metadata}


def _common_provenance(files: Sequence[ModelFile]) -> dict[str, Any]:
    """What the provenances of all files say alike, such as their data; and every network that took part in any's
    training.
    """
    found = [file.metadata.get("provenance", {}) for file in files]
    first, *others = found
    common = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    used: list[dict[str, str]] = []
    for entry in (entry for provenance in found for entry in provenance.get("networks", [])):
        used += [entry] if entry not in used else []
    return {**common, "networks": used} if used else common


def _meaning(file: ModelFile) -> dict[str, Any]:
    settings = {key: file.metadata[key] for key in ("preprocessing",) if key in file.metadata}
    if "config" in file.metadata:
        settings["method"], settings["data.size"] = file.config.method, configs.to_dict(file.config.data.size)
        for name in ("gan",) if file.config.is_gan else ("autoencoder", "unet", "schedule"):
            section = configs.to_dict(getattr(file.config, name))
            settings.update({f"{name}.{key}": value for key, value in section.items()})
    return settings
