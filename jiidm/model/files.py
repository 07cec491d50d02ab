"""Model files: autoencoder and averaged U-Net together, with config and provenance inside.

Other files' networks are read too, where their names and shapes are those of a config.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jittor as jt
import numpy as np

from jiidm.config import load as configs
from jiidm.config.history import has_groups
from jiidm.config.schema import AutoencoderConfig, Config
from jiidm.data import identity
from jiidm.errors import InputError
from jiidm.model.build import build_autoencoder, build_schedule, build_unet
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import AutoencoderKL, LatentSpace, VQModel
from ldm_jittor.errors import CheckpointError
from ldm_jittor.files import read_json
from ldm_jittor.formats.names import Network, diffusers_groups, networks
from ldm_jittor.schedules import NoiseSchedule
from ldm_jittor.unet import UNet

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent.parent / "assets" / "demo.safetensors"
MODEL_FILE = "model.safetensors"
RUNS = Path("runs")
LARGEST_HALF = 65504.0
LARGEST_ERROR = 1e-3
"""Of an array in half precision, as a share of its norm: twice what rounding causes. Below 6e-5 halves lose digits."""


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

    An array that halves cannot hold, since it has a value beyond 65504 or is made of values below 6e-5, keeps its
    precision; the log names it.
    Raises CheckpointError or InputError when `source` is neither, and for NaN or infinity in it.
    """
    stored = checkpoint.load(source)
    if "preprocessing" not in stored.metadata:  # which a segmenter has instead of a config
        configs.from_saved(_config_tree(source, stored.metadata), str(source))
        tell_of_old_groups(source, stored.metadata)
    checkpoint.require_finite(stored.arrays, str(source))
    halves = {name: _halved(name, array) for name, array in stored.arrays.items()}
    checkpoint.save(target, halves, stored.metadata)


def _halved(name: str, array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    exact = array.astype(np.float64)
    is_lost = np.linalg.norm(half - exact) > LARGEST_ERROR * np.linalg.norm(exact)
    if is_lost or np.abs(exact).max(initial=0) > LARGEST_HALF:
        logger.info("%s has values that are too large or too small for halves: it stays %s", name, array.dtype)
        return array
    return half


class ModelFile:
    """A file of networks: of this kit, a released one, or one of latent-diffusion, SDM or diffusers (a folder).

    The constructor reads the metadata. `sha256` reads the content once, and so does each loading of networks.
    Raises CheckpointError for a file that is missing or that shows at once that it is no checkpoint, and for a
    diffusers folder whose config is broken or does not suit our layers.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.metadata = checkpoint.load_metadata(path)
        self.diffusers_groups = _diffusers_groups(checkpoint.weights_file(path))

    @cached_property
    def config(self) -> Config:
        """The config that it was saved with. Raises InputError when there is none, or none that is valid."""
        return configs.from_saved(_config_tree(self.path, self.metadata), str(self.path))

    @cached_property
    def sha256(self) -> str:
        return sha256(self.path)

    def require_diffusion(self) -> None:
        """Raises InputError for a GAN of this kit."""
        if "config" in self.metadata and self.config.is_gan:
            raise InputError(f"{self.path}: a {self.config.method}, and not a diffusion model")

    def adapted(self, config: Config, kinds: Collection[str] = ("autoencoder", "unet")) -> Config:
        """`config` with what belongs to the file's networks but does not show in their weights.

        That is the groups of group norm, what the U-Net predicts, and the latents' scale, which training measures.
        Raises InputError where the result is no valid config.
        """
        known = {kind: self._known(kind) for kind in kinds}
        sections = {kind: dataclasses.replace(getattr(config, kind), **settings) for kind, settings in known.items()}
        changed = dataclasses.replace(config, **sections)
        return configs.from_dict(configs.to_dict(changed), str(self.path))

    def _known(self, kind: str) -> dict[str, Any]:
        if "config" in self.metadata:
            own = {"autoencoder": "latent_scale", "unet": "prediction"}[kind]
            section = getattr(self.config, kind)
            return {key: getattr(section, key) for key in ("norm_groups", "norm_min_channels", own)}
        if kind == "autoencoder" and self.diffusers_groups is not None:
            return {"norm_groups": self.diffusers_groups, "norm_min_channels": 1}
        return {}

    def read_networks(self) -> tuple[dict[str, Network], list[str]]:
        """The networks by kind ("autoencoder", "unet"), and the names of arrays that belong to neither.

        Raises CheckpointError when the file is unreadable or holds no network, and InputError for a GAN of this kit.
        """
        self.require_diffusion()
        arrays = checkpoint.load(self.path).arrays
        try:
            found, others = networks(arrays)
        except ValueError as error:
            raise CheckpointError(f"{self.path}: {error}") from None
        if not found:
            if any(name.split(".")[-2:-1] == ["conv_img"] for name in arrays):
                raise CheckpointError(f"{self.path}: a GAN's generator; `jiidm convert --config` makes a model of it")
            names = checkpoint.listed(list(arrays)) or "none"
            raise CheckpointError(f"{self.path}: holds neither an autoencoder nor a SPADE U-Net; its arrays: {names}")
        return found, others

    def load(self, config: Config | None = None) -> Model:
        """Build the networks and give them the file's weights. `config` replaces the one inside the file.

        Raises CheckpointError when the file is unreadable or does not fit the config.
        """
        found, _ = self.read_networks()
        config = config or self.config
        autoencoder, unet = build_autoencoder(config.autoencoder), build_unet(config)
        self._fill(autoencoder, "autoencoder", found)
        self._fill(unet, "unet", found)
        space = LatentSpace(autoencoder, config.autoencoder.latent_scale)
        return Model(config, space, unet, build_schedule(config.schedule), self.metadata.get("provenance", {}))

    def load_autoencoder(self, config: AutoencoderConfig) -> VQModel | AutoencoderKL:
        """Build an autoencoder and give it the file's weights. Raises CheckpointError as `load` does."""
        found, _ = self.read_networks()
        autoencoder = build_autoencoder(config)
        self._fill(autoencoder, "autoencoder", found)
        return autoencoder

    def _fill(self, module: jt.nn.Module, kind: str, found: dict[str, Network]) -> None:
        if kind not in found:
            told = f"{self.path} ({kind}) is missing; `jiidm convert` joins an autoencoder and a U-Net"
            raise CheckpointError(told)
        checkpoint.load_into(module, found[kind].state, f"{self.path} ({kind})")
        module.eval()


def load_model(path: str | os.PathLike, config: Config | None = None) -> Model:
    """`ModelFile.load` of a file that nothing else is asked of."""
    return ModelFile(path).load(config)


def stored_config(path: str | os.PathLike) -> Config:
    """`ModelFile.config` of a file that nothing else is asked of."""
    return ModelFile(path).config


def tell_of_old_groups(path: str | os.PathLike, metadata: Mapping[str, Any]) -> None:
    """Say so of a file with a config that this kit wrote before the groups of group norm were a setting."""
    if not any(has_groups(metadata["config"].get(kind, {})) for kind in ("autoencoder", "unet")):
        told = "has no norm_groups; it was made with, and is read by, the old rule of 4 channels a group or more"
        logger.info("%s: %s", path, told)


def _config_tree(path: str | os.PathLike, metadata: Mapping[str, Any]) -> dict[str, Any]:
    if "config" not in metadata:
        raise InputError(f"{path}: holds no config; give one with --config, or make a model of it with `jiidm convert`")
    return metadata["config"]


def _diffusers_groups(weights: Path) -> int | None:
    """The groups that config.json names beside diffusers' weights; None beside other weights, and without the file."""
    path = weights.with_name("config.json")
    if not weights.name.startswith(checkpoint.DIFFUSERS_STEM) or not path.is_file():
        return None
    try:
        settings = read_json(path)
        if not isinstance(settings, dict):
            raise ValueError("not a mapping")
        return diffusers_groups(settings)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from None


def find_model(runs: Path = RUNS) -> Path:
    """The model of the training run that finished last, else the one that ships with the kit."""
    finished = sorted(runs.glob(f"*/{MODEL_FILE}"), key=lambda path: path.stat().st_mtime)
    return finished[-1] if finished else SHIPPED


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of the file, or of the weights in a diffusers folder."""
    return identity.sha256(checkpoint.weights_file(path))
