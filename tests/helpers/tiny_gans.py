"""Configs of a tiny GAN of every method."""

from __future__ import annotations

from jiidm.config import load as configs
from jiidm.config.schema import Config

TINY = ["data.size=[64,32]", "gan_training.checkpoint_every=100"]
OPTIONS = {
    "gaugan": [],
    "clade": ["gan.distance_map=true"],
    "sean": ["gan.style_channels=4"],
    "scgan": ["gan.routing_channels=4", "gan.fc_channels=2"],
}


def tiny(method: str, *more: str) -> Config:
    return configs.load_config("smoke_gaugan", [*TINY, f"method={method}", *OPTIONS[method], *more])
