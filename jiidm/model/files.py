"""Model files: autoencoder and averaged U-Net together, with config and provenance inside.

Other files' networks are read too, where their names and shapes are those of a config.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import jittor as jt
import numpy as np

from jiidm.config import load as configs
from jiidm.config.schema import AutoencoderConfig, Config
from jiidm.errors import InputError
from jiidm.model.build import build_autoencoder, build_schedule, build_unet
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import AutoencoderKL, LatentSpace, VQModel
from ldm_jittor.errors import CheckpointError
from ldm_jittor.formats.names import Network, check_diffusers_config, networks
from ldm_jittor.schedules import NoiseSchedule
from ldm_jittor.unet import UNet

SHIPPED = Path(__file__).parent.parent / "assets" / "demo.safetensors"
MODEL_FILE = "model.safetensors"
RUNS = Path("runs")


class Model(NamedTuple):
    config: Config
    space: LatentSpace
    unet: UNet
    schedule: NoiseSchedule
    provenance: dict[str, Any]


def save_model(
    path: str | os.PathLike,
    config: Config,
    autoencoder: dict[str, np.ndarray],
    unet: dict[str, np.ndarray],
    provenance: dict[str, Any],
) -> None:
    """Write both networks' arrays to one checkpoint."""
    arrays = {**checkpoint.with_prefix("autoencoder", autoencoder), **checkpoint.with_prefix("unet", unet)}
    checkpoint.save(path, arrays, {"config": configs.to_dict(config), "provenance": provenance})


def export_half(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Write a model or a segmenter again in half precision, which is half the size.

    Raises CheckpointError or InputError when `source` is neither.
    """
    stored = checkpoint.load(source)
    if "preprocessing" not in stored.metadata:  # which a segmenter has instead of a config
        stored_config(source)
    halves = {name: array.astype(np.float16) for name, array in stored.arrays.items()}
    checkpoint.save(target, halves, stored.metadata)


def load_model(path: str | os.PathLike, config: Config | None = None) -> Model:
    """Build the networks and give them the file's weights. `config` replaces the one inside the file.

    Raises CheckpointError when the file is unreadable or does not fit the config.
    """
    found, _ = read_networks(path)
    if config is None:
        config = stored_config(path)
    autoencoder, unet = build_autoencoder(config.autoencoder), build_unet(config)
    _fill(autoencoder, "autoencoder", found, path)
    _fill(unet, "unet", found, path)
    space = LatentSpace(autoencoder, config.autoencoder.latent_scale)
    provenance = checkpoint.load_metadata(path).get("provenance", {})
    return Model(config, space, unet, build_schedule(config.schedule), provenance)


def load_autoencoder(path: str | os.PathLike, config: AutoencoderConfig) -> VQModel | AutoencoderKL:
    """Build an autoencoder with the weights of any file that `read_networks` reads.

    Raises CheckpointError when they are unreadable or do not fit the config.
    """
    found, _ = read_networks(path)
    autoencoder = build_autoencoder(config)
    _fill(autoencoder, "autoencoder", found, path)
    return autoencoder


def _fill(module: jt.Module, kind: str, found: dict[str, Network], path: str | os.PathLike) -> None:
    if kind not in found:
        raise CheckpointError(f"{path} ({kind}) is missing; `jiidm convert` joins an autoencoder and a U-Net")
    checkpoint.load_into(module, found[kind].state, f"{path} ({kind})")
    module.eval()


def read_networks(path: str | os.PathLike) -> tuple[dict[str, Network], list[str]]:
    """The networks in a file, by kind ("autoencoder", "unet"), and the names of arrays that belong to neither.

    The file is of this kit, released, or of latent-diffusion, SDM or diffusers (a folder).
    Raises CheckpointError when it is unreadable or holds no network.
    """
    arrays = checkpoint.load(path).arrays
    try:
        found, others = networks(arrays)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if not found:
        shown = checkpoint.listed(list(arrays)) or "none"
        raise CheckpointError(f"{path}: holds neither an autoencoder nor a SPADE U-Net; its arrays: {shown}")
    if any(network.layout == "diffusers" for network in found.values()):
        _check_settings(checkpoint.weights_file(path).with_name("config.json"))
    return found, others


def _check_settings(path: Path) -> None:
    """Raises CheckpointError where diffusers' own config, if it is there, is broken or does not suit our layers."""
    if not path.is_file():
        return
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("not a mapping")
        check_diffusers_config(settings)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from None


def stored_config(path: str | os.PathLike) -> Config:
    """The config in a model file. Raises CheckpointError or InputError when there is none."""
    metadata = checkpoint.load_metadata(path)
    if "config" not in metadata:
        raise InputError(f"{path}: holds no config; give one with --config, or make a model of it with `jiidm convert`")
    return configs.from_saved(metadata["config"], str(path))


def with_stored_scale(config: Config, path: str | os.PathLike) -> Config:
    """The config with the latent scale of the one in the file, if the file holds one.

    The scale is measured in training, so it belongs to the weights. Raises InputError for a stored config that is none.
    """
    if "config" not in checkpoint.load_metadata(path):
        return config
    scale = stored_config(path).autoencoder.latent_scale
    return dataclasses.replace(config, autoencoder=dataclasses.replace(config.autoencoder, latent_scale=scale))


def find_model(runs: Path = RUNS) -> Path:
    """The model of the training run that finished last, else the one that ships with the kit."""
    finished = sorted(runs.glob(f"*/{MODEL_FILE}"), key=lambda path: path.stat().st_mtime)
    return finished[-1] if finished else SHIPPED


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of the file, or of the weights in a diffusers folder."""
    digest = hashlib.sha256()
    with open(checkpoint.weights_file(path), "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
