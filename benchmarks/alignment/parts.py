"""What is aligned, and at which settings; without Jittor and PyTorch, because both ends read it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common.duel import memory
from jiidm.config import load as configs
from jiidm.config.schema import Config

LANDSCAPES = 32
"""Generated photos and masks to train on."""
SHOWN = 4
"""Images that both ends make in the end, from landscapes that are not among those."""
SHOWN_SEED = 1
DROPPED = 255
"""Stands in a given mask where the sample was trained without it."""
RESULT, ARRAYS, GIVEN = "result.json", "arrays.npz", "given.npz"


class Part(NamedTuple):
    """A network whose training is aligned: a shipped config, and what `--set` changes in it."""

    config: str
    changes: tuple[str, ...]

    def load(self) -> Config:
        return configs.load_config(self.config, self.changes)


def _sampled(steps: int) -> str:
    """One round for the images in the end."""
    return f"inference.rounds=[{{start_timestep: 600, num_steps: {steps}, sampler: ddim, guidance_scale: 1.5}}]"


_PLAIN = ("diffusion_training.distance_every=null", "diffusion_training.log_every=1")
_SMALL = ("data.size=[64,48]", "autoencoder_training.crop_size=[32,32]")
_UNET = (
    "diffusion_training.max_steps=500",
    "diffusion_training.batch_size=4",
    "diffusion_training.warmup_steps=50",
    "diffusion_training.ema_decay=0.98",
)
_AUTOENCODER = (
    "autoencoder_training.max_steps=500",
    "autoencoder_training.batch_size=8",
    "autoencoder_training.learning_rate=1e-5",
    "autoencoder_training.warmup_steps=50",
    "autoencoder_training.quantization_start=0",
    "autoencoder_training.discriminator_start=50",
    "autoencoder_training.discriminator_weight=0.1",
)
"""At the demo's learning rate and VQGAN's weight of 0.75 PyTorch's own runs part: the game amplifies any difference."""
_ONE_STEP = (
    "data.size=[256,192]",
    "autoencoder_training.crop_size=[256,192]",
    "diffusion_training.max_steps=1",
    "diffusion_training.batch_size=2",
    "diffusion_training.accumulation_steps=2",
    "diffusion_training.warmup_steps=0",
)
_TEN_STEPS = ("diffusion_training.max_steps=10", "diffusion_training.accumulation_steps=1")
_TEN_GENTLE_STEPS = ("autoencoder_training.max_steps=10", "autoencoder_training.learning_rate=1e-5")
PARTS = {
    "unet": Part("demo", (*_SMALL, *_UNET, *_PLAIN, _sampled(10))),
    "autoencoder": Part("demo", (*_SMALL, *_AUTOENCODER)),
    "full": Part("iidm", (*_ONE_STEP, *_PLAIN)),
}
SHORT = {
    "unet": Part("smoke", (*_TEN_STEPS, *_PLAIN, _sampled(2))),
    "autoencoder": Part("smoke", (*_TEN_GENTLE_STEPS, "autoencoder_training.quantization_start=0")),
}
"""The same in seconds."""


def part_named(name: str, short: bool) -> Part:
    return (SHORT if short else PARTS)[name]


def repeated(name: str, short: bool) -> bool:
    """Whether Jittor trains it twice."""
    return not short and name != "full"


def batch_size(name: str, short: bool) -> int:
    """Samples a step."""
    config = part_named(name, short).load()
    return (config.autoencoder_training if name == "autoencoder" else config.diffusion_training).batch_size


def end_parser(description: str) -> argparse.ArgumentParser:
    """The options of both ends."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("folder", type=Path, help="where it writes")
    parser.add_argument("--short", action="store_true")
    return parser


def threads() -> int:
    return int(os.environ["OMP_NUM_THREADS"])


def write_result(
    folder: Path, losses: Mapping[str, Sequence[float]], rates: Sequence[float], seconds: np.ndarray, **library: str
) -> None:
    """What an end did: losses and learning rate of every step, seconds per step, memory, and where it ran."""
    told = {
        "losses": losses,
        "learning_rate": rates,
        "seconds": seconds.round(4).tolist(),
        "peak_gib": round(memory("self", "VmHWM"), 2),
        "environment": {**library, "numpy": np.__version__, "python": platform.python_version(), "threads": threads()},
    }
    (folder / RESULT).write_text(json.dumps(told))


def cpu() -> str:
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return model[1] if model else platform.machine()
