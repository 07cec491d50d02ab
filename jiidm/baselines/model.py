"""The networks of one GAN behind one call, and the file that holds them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.baselines.build import build_discriminator, build_encoder, build_generator
from jiidm.classes import NUM_CLASSES
from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.errors import InputError
from jiidm.model.files import ModelFile
from jiidm.model.gan.sean import Noise
from jiidm.model.gan.spectral_norm import fold_spectral_norms
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError

MEAN_CODES = "mean_codes"


class GAN(nn.Module):
    """The generator of a config's method, and the VAE's encoder where there is one. Parameters: generator.*, encoder.*.

    What a style is depends on the method: z [B,256] with a VAE, SEAN's codes [B,classes,style_channels], else None.
    """

    def __init__(self, config: Config):
        self.method = config.method
        self.with_distance = config.method == "clade" and config.gan.distance_map
        channels = config.gan.channels
        self.generator = build_generator(
            config.method, NUM_CLASSES, config.data.size, channels, config.gan.use_vae, **_options(config)
        )
        if config.has_vae:
            self.encoder = build_encoder(config.method, channels)

    def execute(
        self, segmap: jt.Var, style: jt.Var | None, distance: jt.Var | None, noise: Noise | None
    ) -> tuple[jt.Var, jt.Var | None]:
        """Images [B,3,H,W] in [-1, 1] of segmap [B,classes,H,W] one-hot, and the image of SCGAN's routing net.

        distance: [B,2,H,W] for CLADE with a distance map. noise: SEAN's.
        """
        if self.method == "sean":
            return self.generator(segmap, style_codes=style, noise=noise), None
        if self.method == "scgan":
            return self.generator.with_auxiliary(segmap, style)
        if self.with_distance:
            return self.generator(segmap, z=style, distance=distance), None
        return self.generator(segmap, z=style), None


def _options(config: Config) -> dict[str, Any]:
    """The settings that only this method's generator has."""
    gan = config.gan
    options: dict[str, dict[str, Any]] = {
        "gaugan": {"spade_hidden": gan.spade_hidden, "upsamplings": gan.upsamplings},
        "clade": {"upsamplings": gan.upsamplings, "distance_map": gan.distance_map},
        "sean": {
            "style_channels": gan.style_channels,
            "style_encoder_channels": gan.style_encoder_channels,
            "spade_hidden": gan.spade_hidden,
        },
        "scgan": {
            "routing_channels": gan.routing_channels,
            "fc_channels": gan.fc_channels,
            "spade_hidden": gan.spade_hidden,
        },
    }
    return options[config.method]


class GANModel(NamedTuple):
    config: Config
    network: GAN
    mean_codes: np.ndarray | None
    """SEAN's mean style code of each class over the training photos, [classes,style_channels] float32."""


def discriminator_of(config: Config) -> nn.Module:
    """The published discriminator of a config's method, or OASIS'."""
    training = config.gan_training
    name = "oasis" if training.adversarial == "oasis" else config.method
    return build_discriminator(name, NUM_CLASSES, training.discriminator_channels, config.gan.use_vae)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """While the block runs, norms use their running averages and spectral norms stay as they are."""
    modules = [module for _, module in network.named_modules()]
    before = [module.is_training() for module in modules]
    for module in modules:
        module.is_train = False
    try:
        yield
    finally:
        for module, value in zip(modules, before):
            module.is_train = value


def save_gan(path: str | os.PathLike, model: GANModel, provenance: Mapping[str, Any]) -> None:
    """Write a GAN, with its config and provenance, to one checkpoint."""
    codes = {} if model.mean_codes is None else {MEAN_CODES: model.mean_codes}
    metadata = {"config": configs.to_dict(model.config), "provenance": dict(provenance)}
    checkpoint.save(path, {**checkpoint.state_dict(model.network), **codes}, metadata)


def load_gan(file: ModelFile, config: Config | None = None) -> GANModel:
    """Build the networks of a file and give them its weights, for inference. `config` replaces the one inside.

    Raises InputError for the diffusion model's file, CheckpointError for one that does not fit the config.
    """
    config = config or file.config
    if not file.config.is_gan:
        raise InputError(f"{file.path}: a diffusion model, and not a GAN")
    arrays = checkpoint.load(file.path).arrays
    codes = arrays.pop(MEAN_CODES, None)
    if config.method == "sean" and codes is None:
        raise CheckpointError(f"{file.path}: {MEAN_CODES}, sean's mean style of each class, is missing")
    network = GAN(config)
    checkpoint.load_into(network, arrays, str(file.path))
    network.eval()
    fold_spectral_norms(network)
    return GANModel(config, network, None if codes is None else codes.astype(np.float32))
