"""Second stage, Algorithm 1: train the U-Net on cached latents."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jittor as jt
import numpy as np

from jiidm.config.schema import Config
from jiidm.data.latents import LatentDataset
from jiidm.data.pairs import one_hot
from jiidm.data.prefetch import load_ahead
from jiidm.model.build import build_schedule, build_unet
from jiidm.model.files import Model, save_model
from jiidm.report.sheets import plot_losses
from jiidm.seeding import generator, normal
from jiidm.train.log import RunLog
from jiidm.train.loop import (
    Trainer,
    deferred_interrupt,
    learning_rate_at,
    load_state,
    micro_batches,
    sample_index,
    save_state,
)
from jiidm.train.validation import Validation, checkpoint_path
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import LatentSpace
from ldm_jittor.ema import EMA
from ldm_jittor.losses import DiffusionLoss, diffusion_loss
from ldm_jittor.schedules import NoiseSchedule
from ldm_jittor.unet import UNet

VALIDATION_IMAGES = 64
STATE_FILE = "state.safetensors"


class Example(NamedTuple):
    """One training example, every draw from (seed, sample number)."""

    z0: np.ndarray
    eps: np.ndarray
    timestep: int
    segmap: np.ndarray
    """One-hot [classes,h,w], all zeros where the mask was dropped."""


class _Weights:
    """The U-Net in training and the average of its weights, and the files of both in a run's folder."""

    def __init__(self, config: Config, space: LatentSpace, provenance: dict[str, Any], folder: Path):
        training = config.diffusion_training
        jt.set_global_seed(config.seed)
        unet = build_unet(config)
        unet.gradient_checkpointing = training.gradient_checkpointing
        self.model = Model(config, space, unet, build_schedule(config.schedule), provenance)
        self.trainer = Trainer(unet, weight_decay=training.weight_decay)
        self.ema = EMA(unet, training.ema_decay)
        self.folder = folder

    def resume(self) -> int:
        """Restore everything a step depends on; returns the steps done."""
        path = self.folder / STATE_FILE
        saved = load_state(path, ("trainer", "ema"))
        if saved is None:
            return 0
        parts, metadata = saved
        self.trainer.load_state(parts["trainer"], str(path))
        self.ema.load_state_dict(parts["ema"])
        self.ema.num_updates = metadata["ema_updates"]
        return metadata["step"]

    def save(self, step: int) -> None:
        """Write what `resume` reads."""
        metadata = {"step": step, "ema_updates": self.ema.num_updates}
        parts = {"trainer": self.trainer.state(), "ema": self.ema.state_dict()}
        save_state(self.folder / STATE_FILE, parts, metadata)

    def keep(self, step: int) -> None:
        """Write the averages as a whole model, that can be inferred with."""
        config, space, *_, provenance = self.model
        autoencoder, averages = checkpoint.state_dict(space.autoencoder), self.ema.state_dict()
        save_model(checkpoint_path(self.folder, step), config, autoencoder, averages, {**provenance, "steps": step})

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Model]:
        """The model, with the averages in place while the block runs."""
        with self.ema.applied_to(self.model.unet):
            yield self.model


def train_diffusion(
    config: Config,
    train: LatentDataset,
    validation: LatentDataset,
    folder: Path,
    space: LatentSpace,
    provenance: dict[str, Any],
    show_samples: Callable[[Model, Path], None],
    distances: Validation | None = None,
) -> tuple[dict[str, np.ndarray], int]:
    """Train until max_steps, from `folder`/state.safetensors if it exists; returns the averaged weights and steps.

    Every checkpoint_every steps, and where `distances` are due, the state is saved and the averaged weights are kept
    as a model of their own, `folder`/checkpoints/step_<n>.safetensors. `show_samples(model, picture)` is called with
    those weights in place every checkpoint_every steps.
    """
    training = config.diffusion_training
    weights = _Weights(config, space, provenance, folder)
    unet, schedule = weights.model.unet, weights.model.schedule
    first_step = weights.resume()
    if distances:
        distances.resume(first_step)

    def due(done: int, every: int) -> bool:
        return done % every == 0 or done == training.max_steps

    def distance_due(done: int) -> bool:
        return distances is not None and distances.is_due(done)

    batches = load_ahead(partial(_load_batches, config, train), range(first_step, training.max_steps))
    window: list[DiffusionLoss] = []
    log = RunLog(folder, "diffusion", first_step, training.max_steps)
    with log, deferred_interrupt() as interrupted:
        if distance_due(first_step):  # an interrupted run may owe it
            weights.keep(first_step)
            _take_distance(weights, distances, first_step, log, interrupted)
        for step, examples in batches:
            window += _step(config, weights.trainer, schedule, examples, step)
            weights.ema.update(unet)
            log.advance(window[-1].total)
            done = step + 1
            if due(done, training.log_every):
                log.record(done, **_mean(window))
                window = []
            if due(done, training.validate_every):
                with weights.averaged():
                    log.record(done, val_loss=_validation_loss(config, unet, schedule, validation))
                plot_losses(log.path, folder / "loss.png")
            kept = due(done, training.checkpoint_every) or distance_due(done)
            if kept or interrupted.is_set():
                weights.save(done)
            if kept:
                weights.keep(done)
            if interrupted.is_set():
                raise KeyboardInterrupt
            if due(done, training.checkpoint_every):
                with weights.averaged() as model:
                    show_samples(model, folder / "samples" / f"step_{done:08d}.png")
            if distance_due(done):
                _take_distance(weights, distances, done, log, interrupted)
    return weights.ema.state_dict(), max(first_step, training.max_steps)


def _take_distance(
    weights: _Weights, distances: Validation, step: int, log: RunLog, interrupted: threading.Event
) -> None:
    """Log and list the distance of the averaged weights. Ctrl-C stops it, since the step is saved; a resumed run then
    takes it first."""

    def stop_if_asked() -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    with weights.averaged() as model:
        distance = distances.measure(model, step, stop_if_asked)
    distances.record(step, distance)
    log.record(step, **{distances.score: distance})
    plot_losses(log.path, weights.folder / "loss.png")


def draw_example(dataset: LatentDataset, number: int, config: Config, purpose: str = "train") -> Example:
    """The `number`-th sample that training draws: image, flip, timestep, noise and mask dropout."""
    rng = generator(config.seed, purpose, number)
    index = sample_index(number, len(dataset), config.seed) if purpose == "train" else number % len(dataset)
    z0, mask = dataset[index, int(rng.random() < 0.5)]
    segmap = one_hot(mask)
    if purpose == "train" and rng.random() < config.diffusion_training.mask_dropout:
        segmap[:] = 0
    timestep = int(rng.integers(config.schedule.num_timesteps))
    return Example(z0, normal(z0.shape, config.seed, purpose, number, "eps"), timestep, segmap)


def _load_batches(config: Config, dataset: LatentDataset, step: int) -> list[list[Example]]:
    training = config.diffusion_training
    ranges = micro_batches(step, training.batch_size, training.accumulation_steps)
    return [[draw_example(dataset, number, config) for number in numbers] for numbers in ranges]


def _loss(unet: UNet, schedule: NoiseSchedule, examples: Sequence[Example]) -> DiffusionLoss:
    z0, eps, timesteps, segmap = (np.stack(column) for column in zip(*examples))
    z0, eps = jt.array(z0), jt.array(eps)
    z = schedule.add_noise(z0, eps, timesteps)
    output = unet(z, jt.array(timesteps.astype(np.float32)), jt.array(segmap))
    return diffusion_loss(output, z0, z, eps, timesteps, schedule)


def _step(config: Config, trainer: Trainer, schedule: NoiseSchedule, batches, step: int) -> list[DiffusionLoss]:
    """One update; returns the losses of its micro-batches as floats."""
    parts: list[DiffusionLoss] = []

    def losses() -> Iterator[jt.Var]:
        for examples in batches:
            loss = _loss(trainer.module, schedule, examples)
            yield loss.total
            parts.append(DiffusionLoss(*(value.item() for value in loss)))

    trainer.step(losses(), len(batches), step, learning_rate_at(step, config.diffusion_training))
    return parts


def _mean(losses: Sequence[DiffusionLoss]) -> dict[str, float]:
    total, simple, variational = np.mean(losses, axis=0).tolist()
    return {"loss": total, "simple": simple, "variational": variational}


def _validation_loss(config: Config, unet: UNet, schedule: NoiseSchedule, dataset: LatentDataset) -> float:
    """Mean simple loss on fixed validation latents, noises and timesteps, mask always shown."""
    size = max(1, config.diffusion_training.batch_size // config.diffusion_training.accumulation_steps)
    values = []
    with jt.no_grad():
        for start in range(0, VALIDATION_IMAGES, size):
            numbers = range(start, min(start + size, VALIDATION_IMAGES))
            examples = [draw_example(dataset, number, config, "validation") for number in numbers]
            values += [_loss(unet, schedule, examples).simple.item()] * len(numbers)
    return float(np.mean(values))
