"""From networks in any readable file to one file of this kit, compared name by name with a config."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.errors import InputError
from jiidm.model.build import build_autoencoder, build_unet
from jiidm.model.files import ModelFile, save_model, tell_of_old_groups
from ldm_jittor import checkpoint
from ldm_jittor.errors import one_line
from ldm_jittor.formats.names import Network

logger = logging.getLogger(__name__)

RELEASED = "iidm"
"""The config of the released weights, for sources that hold none."""
LABELS = {"autoencoder": "autoencoder", "unet": "U-Net"}


class Part(NamedTuple):
    file: ModelFile
    network: Network


def convert(
    sources: Sequence[Path], target: Path, config_name: str | None, overrides: Sequence[str], only: str | None
) -> list[str]:
    """Write the networks of `sources` to `target`.

    Both networks make a model that inference runs on. One alone is written under its bare names; a U-Net's are SDM's.
    `only`, "autoencoder" or "unet", leaves the other out.

    Returns everything in which names and shapes differ from the config; then nothing is written. Raises InputError or
    CheckpointError for what cannot be read, two networks of a kind, a U-Net of v alone, or a target that exists.
    """
    check_target(target)
    named = None if config_name is None else configs.load_config(config_name, overrides)
    files = [ModelFile(source) for source in sources]
    parts = _collect(files)
    if only is not None:
        if only not in parts:
            raise InputError(f"{sources[0]}: holds no {LABELS[only]}")
        parts = {only: parts[only]}
    config = named or _stored_config(files)
    for kind, part in parts.items():
        config = part.file.adapted(config, [kind])
    config = configs.override(config, overrides)
    faults = []
    for kind, part in parts.items():
        module = build_unet(config) if kind == "unet" else build_autoencoder(config.autoencoder)
        faults += [f"{part.file.path} ({kind}): {fault}" for fault in checkpoint.misfits(module, part.network.state)]
    if not faults:
        _save(target, parts, config)
    return faults


def check_target(target: Path) -> None:
    """Raises InputError for a file that exists, and for a name of another format."""
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: the file to write comes last, and its name ends in .safetensors")
    check_absent(target)


def check_absent(target: Path) -> None:
    """Raises InputError for a file or folder that exists."""
    if target.exists():
        raise InputError(f"{target}: exists already; choose another name")


def _collect(files: Sequence[ModelFile]) -> dict[str, Part]:
    """The networks by kind. It prints what it found and what it left out."""
    parts: dict[str, Part] = {}
    for file in files:
        source = file.path
        found, others = file.read_networks()
        for kind, network in found.items():
            logger.info("%s: %s, %d arrays, names of %s", source, LABELS[kind], len(network.state), network.layout)
            if kind in parts:
                first = parts[kind].file.path
                raise InputError(f"{source}: a second {LABELS[kind]} beside {first}; give one (to infer, the averaged)")
            parts[kind] = Part(file, network)
        if others:
            groups = Counter(name.split(".")[0] for name in others)
            left_out = ", ".join(f"{name} ({count})" for name, count in groups.items())
            logger.info("%s: left out %s", source, one_line(left_out))
        if "config" in file.metadata:
            tell_of_old_groups(source, file.metadata)
    return parts


def _stored_config(files: Sequence[ModelFile]) -> Config:
    """The first config that a source holds, else the released one."""
    return next((file.config for file in files if "config" in file.metadata), None) or configs.load_config(RELEASED)


def _save(target: Path, parts: dict[str, Part], config: Config) -> None:
    origins = {kind: {"file": part.file.path.name, "sha256": part.file.sha256} for kind, part in parts.items()}
    provenance = {"converted_from": origins}
    states = {kind: part.network.state for kind, part in parts.items()}
    if len(states) == 2:
        save_model(target, config, **states, provenance=provenance)
    else:
        ((kind, state),) = states.items()
        if kind == "unet" and config.unet.prediction == "v":
            told = "a U-Net that predicts v, and a file of it alone is read as one that predicts eps by other projects"
            raise InputError(f"{parts[kind].file.path}: {told}; give its autoencoder too")
        checkpoint.save(target, state, {"config": configs.to_dict(config), "provenance": provenance})
