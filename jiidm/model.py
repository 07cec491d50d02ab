"""The file inference runs on: autoencoder and averaged U-Net together, config and provenance inside."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jiidm import config as configs
from jiidm.build import build_autoencoder, build_schedule, build_unet
from jiidm.config import Config
from jiidm.errors import InputError
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import LatentSpace
from ldm_jittor.schedules import NoiseSchedule
from ldm_jittor.unet import UNet

SHIPPED = Path(__file__).parent / "assets" / "demo.safetensors"
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
    """Write a model again in half precision, half the size. Raises CheckpointError when `source` is no model."""
    stored = checkpoint.load(source)
    stored_config(source)
    halves = {name: array.astype(np.float16) for name, array in stored.arrays.items()}
    checkpoint.save(target, halves, stored.metadata)


def load_model(path: str | os.PathLike, config: Config | None = None) -> Model:
    """Build the networks and give them the file's weights. `config` replaces the one inside the file.

    Raises CheckpointError when the file is unreadable or does not fit the config.
    """
    stored = checkpoint.load(path)
    if config is None:
        config = stored_config(path)
    autoencoder, unet = build_autoencoder(config.autoencoder), build_unet(config)
    for name, module in (("autoencoder", autoencoder), ("unet", unet)):
        checkpoint.load_into(module, checkpoint.under_prefix(name, stored.arrays), f"{path} ({name})")
        module.eval()
    space = LatentSpace(autoencoder, config.autoencoder.latent_scale)
    return Model(config, space, unet, build_schedule(config.schedule), stored.metadata.get("provenance", {}))


def stored_config(path: str | os.PathLike) -> Config:
    """The config a model file was saved with. Raises CheckpointError or InputError when there is none."""
    metadata = checkpoint.load_metadata(path)
    if "config" not in metadata:
        raise InputError(f"{path}: holds no config; give one with --config")
    return configs.from_dict(metadata["config"], str(path))


def find_model(runs: Path = RUNS) -> Path:
    """The model of the training run that finished last, else the one that ships with the kit."""
    finished = sorted(runs.glob(f"*/{MODEL_FILE}"), key=lambda path: path.stat().st_mtime)
    return finished[-1] if finished else SHIPPED


def sha256(path: str | os.PathLike) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
