"""One checkpoint from several: the weighted mean of files whose weights mean the same (IIDM's Eq. 7)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.errors import InputError
from jiidm.model.files import sha256
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
    source's;
    provenance: takes the place of what all sources' say alike. Raises CheckpointError or InputError for files that do
    not fit together, and for a target that cannot be written.
    """
    averaging.common_layout(sources)
    metadata = _common_metadata(sources)
    if config is not None:
        metadata["config"] = configs.to_dict(config)
    sizes = [source.stat().st_size for source in sources]
    parts: list[dict[str, Any]] = []
    with tqdm(total=sum(sizes) + sizes[0], desc="averaging", unit="B", unit_scale=True) as progress:
        for source, weight, size, note in zip(sources, weights, sizes, notes or [{}] * len(sources)):
            parts.append({"file": source.name, "sha256": sha256(source), "weight": weight, **note})
            progress.update(size)
        metadata["provenance"] = {**(provenance or _common_provenance(sources)), "average_of": parts}
        try:
            averaging.average(sources, target, weights, metadata, progress.update)
        except OSError as error:
            raise InputError(f"{target}: cannot be written ({error.strerror})") from None


def _common_metadata(sources: Sequence[Path]) -> dict[str, Any]:
    """The first file's config, or a segmenter's preprocessing, if it has one.

    Raises InputError where another file's gives the weights another meaning. How the models were trained and are used
    may differ.
    """
    found = [_read(source) for source in sources]
    first, *others = map(_meaning, sources, found)
    for source, other in zip(sources[1:], others):
        differing = [key for key in {**first, **other} if first.get(key) != other.get(key)]
        if differing:
            told = [f"{key} is {other.get(key)!r}, not {first.get(key)!r}" for key in differing]
            raise InputError(f"{source} does not fit {sources[0]}: {checkpoint.listed(told)}")
    return found[0]


def _common_provenance(sources: Sequence[Path]) -> dict[str, Any]:
    """What the provenances of all sources say alike, such as their data."""
    first, *others = (checkpoint.load_metadata(source).get("provenance", {}) for source in sources)
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}


def _read(source: Path) -> dict[str, Any]:
    metadata = checkpoint.load_metadata(source)
    return {key: metadata[key] for key in ("config", "preprocessing") if key in metadata}


def _meaning(source: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    settings = {key: value for key, value in metadata.items() if key != "config"}
    if "config" in metadata:
        config = configs.from_saved(metadata["config"], str(source))
        settings["data.size"] = config.data.size
        for name in ("autoencoder", "unet", "schedule"):
            section = configs.to_dict(getattr(config, name))
            settings.update({f"{name}.{key}": value for key, value in section.items()})
    return settings
