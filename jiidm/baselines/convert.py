"""Between the files of SPADE, CLADE, SEAN and SCGAN (`latest_net_G.pth`, `latest_net_E.pth`) and those of this kit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jittor import nn

from jiidm.baselines.model import GAN, MEAN_CODES, GANModel, save_gan
from jiidm.classes import NUM_CLASSES
from jiidm.config.schema import Config
from jiidm.errors import InputError
from jiidm.model.files import sha256
from jiidm.model.gan.norms import BatchNorm
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError

MARKS = {"generator": "conv_img.weight", "encoder": "fc_var.weight", "discriminator": "discriminator_0.model0.0.weight"}
"""A name that every published network of the kind has."""
Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def convert_gan(sources: Sequence[Path], target: Path, config: Config) -> None:
    """Write the published networks in `sources` to `target`, a model of this kit.

    A config with a VAE needs the generator and the encoder, others the generator alone. SEAN's mean codes of classes
    that a reference does not show become zeros, as its own test has them.
    Raises CheckpointError, in one line that names file and arrays, for a file that does not fit the config, and
    InputError for one with another number of classes, two of a kind and one too many or too few.
    """
    network = GAN(config)
    wanted = ("generator", "encoder") if config.has_vae else ("generator",)
    found: dict[str, tuple[Path, Arrays]] = {}
    for path in sources:
        kind, arrays = _read(path)
        if kind not in wanted:
            raise InputError(f"{path}: the {kind} of a GAN, which {config.name} does not need")
        if kind in found:
            raise InputError(f"{path}: a second {kind} beside {found[kind][0]}")
        found[kind] = path, arrays
    if absent := [kind for kind in wanted if kind not in found]:
        raise InputError(
            f"{sources[0]}: {config.name} also needs the {absent[0]}, latest_net_{absent[0][0].upper()}.pth"
        )
    for kind, (path, arrays) in found.items():
        checkpoint.load_into(getattr(network, kind), _fitted(path, getattr(network, kind), arrays), str(path))
    origins = {kind: {"file": path.name, "sha256": sha256(path)} for kind, (path, _) in found.items()}
    codes = np.zeros((NUM_CLASSES, config.gan.style_channels), np.float32) if config.method == "sean" else None
    save_gan(target, GANModel(config, network, codes), {"converted_from": origins})


def extract(source: Path, target: Path, config: Config, kind: str) -> None:
    """Write one network of a model of this kit under its published names, with the arrays that nothing here uses.

    kind: generator or encoder. Raises InputError where the model has none, CheckpointError as `load_into` does.
    """
    if not config.is_gan:
        raise InputError(f"{source}: a diffusion model, and not a GAN")
    network = GAN(config)
    if not hasattr(network, kind):
        raise InputError(f"{source}: {config.name} has no {kind}")
    stored = checkpoint.load(source)
    checkpoint.load_into(network, {name: x for name, x in stored.arrays.items() if name != MEAN_CODES}, str(source))
    part = getattr(network, kind)
    arrays = {**checkpoint.state_dict(part), **_unused(part)}
    checkpoint.save(target, arrays, {**stored.metadata, "network": kind})


def _read(path: Path) -> tuple[str, Arrays]:
    """The kind of network that a file holds, and its arrays. Raises CheckpointError for a file that holds none."""
    arrays = checkpoint.load(path).arrays
    for kind, mark in MARKS.items():
        if any(name == mark or name.endswith(f".{mark}") for name in arrays):
            return kind, checkpoint.load_network(path, mark)
    raise CheckpointError(
        f"{path}: holds no generator or encoder of a GAN; its arrays: {checkpoint.listed(list(arrays))}"
    )


def _fitted(path: Path, network: nn.Module, arrays: Arrays) -> Arrays:
    """The arrays that `network` has, once it is clear that the file holds them and nothing strange besides."""
    classes = num_classes(arrays)
    if classes not in (None, NUM_CLASSES):
        raise InputError(f"{path}: a generator of {classes} classes, and not of {NUM_CLASSES}")
    unused = {name: array.shape for name, array in _unused(network).items()}
    faults = checkpoint.misfits(network, {name: x for name, x in arrays.items() if name not in unused})
    faults += [
        f"{name} is {checkpoint.shown(arrays[name].shape)}, not {checkpoint.shown(shape)}"
        for name, shape in unused.items()
        if name in arrays and arrays[name].shape != shape
    ]
    if faults:
        raise CheckpointError(f"{path} does not fit the config: {checkpoint.listed(faults)}")
    return {name: array for name, array in arrays.items() if name not in unused}


def _unused(network: nn.Module) -> Arrays:
    """What published files hold and no image depends on, as freshly made: PyTorch's counters of batches, and the
    statistics of a norm inside SEAN's that is never run.
    """
    arrays: Arrays = {}
    norms = [(name, norm) for name, norm in network.named_modules() if isinstance(norm, BatchNorm)]
    for name, norm in norms:
        arrays[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)
        stem, _, last = name.rpartition(".")
        if ".ace_" in stem and last == "param_free_norm":
            inner, channels = f"{stem}.Spade.param_free_norm", tuple(norm.running_mean.shape)
            arrays[f"{inner}.running_mean"] = np.zeros(channels, np.float32)
            arrays[f"{inner}.running_var"] = np.ones(channels, np.float32)
            arrays[f"{inner}.num_batches_tracked"] = np.zeros((), np.int64)
    return arrays


def num_classes(arrays: Mapping[str, np.ndarray]) -> int | None:
    """How many classes a published generator has; None for another network's arrays."""
    layers = [re.search(r"\.fc_mu(\d+)\.weight$", name) for name in arrays]
    if numbers := {int(found[1]) for found in layers if found}:
        return max(numbers) + 1
    for name, array in arrays.items():
        if name.endswith(".class_specified_affine.weight") and array.ndim == 2:
            return array.shape[0]
        if name.endswith(".mlp_shared.0.weight") and array.ndim == 4:
            return array.shape[1]
    return None
