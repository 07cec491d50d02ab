"""Second stage, Algorithm 1: train the U-Net on cached latents."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jittor as jt
import numpy as np

from jiidm.classes import one_hot
from jiidm.config.schema import Config
from jiidm.data.latents import LatentDataset
from jiidm.evaluate import segmenter
from jiidm.model.build import build_schedule, build_unet
from jiidm.model.files import Model, save_model
from jiidm.pipeline import Pipeline
from jiidm.seeding import generator, normal
from jiidm.system import ranks
from jiidm.train.checkpoints import checkpoint_path, samples_path
from jiidm.train.optimizer import Optimizer, learning_rate_at
from jiidm.train.ranked_stage import RankedStage
from jiidm.train.stage import Losses, micro_batches, sample_index, seed_weights
from jiidm.train.validation import Validation
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import LatentSpace
from ldm_jittor.ema import EMA
from ldm_jittor.losses import DiffusionLoss, diffusion_loss

VALIDATION_IMAGES = 64
STATE_FILE = "state.safetensors"


class Example(NamedTuple):
    """One training example. Every draw comes from (seed, sample number)."""

    z0: np.ndarray
    """Latents [C,h,w] of a photo."""
    eps: np.ndarray
    timestep: int
    segmap: np.ndarray
    """One-hot [classes,h,w], all zeros where the mask was dropped."""


class DiffusionStage(RankedStage):
    """The U-Net learns the noise in latents, or their velocity, given the mask.

    Every checkpoint_every steps, and where `distances` are due, the averaged weights are kept as a model of their own,
    `folder`/checkpoints/step_<n>.safetensors. Every checkpoint_every steps they are put in place, and
    `show_samples(model, picture, stop_if_asked)` is called.
    """

    name, state_file, plot_file = "diffusion", STATE_FILE, "loss.png"
    ema: EMA

    def __init__(
        self,
        config: Config,
        train: LatentDataset,
        validation: LatentDataset,
        folder: Path,
        space: LatentSpace,
        provenance: dict[str, Any],
        show_samples: Callable[[Model, Path, Callable[[], None]], None],
        distances: Validation | None = None,
    ):
        training = config.diffusion_training
        seed_weights(config.seed)
        self.config, self.train, self.validation = config, train, validation
        self.folder, self.provenance = folder, provenance
        self.show_samples, self.distances = show_samples, distances
        self.max_steps, self.accumulation_steps = training.max_steps, training.accumulation_steps
        self.log_every, self.checkpoint_every = training.log_every, training.checkpoint_every
        self.network = build_unet(config)
        self.network.gradient_checkpointing = training.gradient_checkpointing
        self.model = Model(config, space, self.network, build_schedule(config.schedule), provenance)
        rate = partial(learning_rate_at, settings=training)
        self.optimizer = Optimizer(self.network, rate, weight_decay=training.weight_decay)
        self.optimizers = {"trainer": self.optimizer}
        self.ema = EMA(self.network, training.ema_decay)

    def load_batch(self, step: int) -> list[list[Example]]:
        """The examples of a step, a list for every micro-batch."""
        training = self.config.diffusion_training
        ranges = micro_batches(step, training.batch_size, training.accumulation_steps)
        return [[draw_example(self.train, number, self.config) for number in numbers] for numbers in ranges]

    def losses(self, batch: list[list[Example]], step: int) -> Iterator[tuple[Optimizer, Losses]]:
        yield self.optimizer, self._micro_losses(batch)

    def _micro_losses(self, batch: list[list[Example]]) -> Losses:
        for examples in batch:
            loss = self.loss(examples)
            yield {"loss": loss.total, "simple": loss.simple, "variational": loss.variational}

    def loss(self, examples: Sequence[Example]) -> DiffusionLoss:
        """Noise the latents to their timesteps, predict the noise, compare: lines 3 to 6 of Algorithm 1."""
        z0, eps, timesteps, segmap = (np.stack(column) for column in zip(*examples))
        z0, eps, schedule = jt.array(z0), jt.array(eps), self.model.schedule
        z = schedule.add_noise(z0, eps, timesteps)
        output = self.network(z, jt.array(timesteps.astype(np.float32)), jt.array(segmap))
        prediction, weighting = self.config.unet.prediction, self.config.diffusion_training.loss_weighting
        return diffusion_loss(output, z0, z, eps, timesteps, schedule, prediction, weighting)

    def evaluated(self, step: int, logged: Container[str]) -> bool:
        if self._validation_due(step) and "val_loss" not in logged:
            return False
        return super().evaluated(step, logged)

    def evaluate(self, step: int, stop_if_asked: Callable[[], None]) -> dict[str, float]:
        """Keep the averaged weights and show sample images. Then take their validation loss and the distance of their
        images, of which each rank does a part.
        """
        ranks.on_first(lambda: self._keep_and_show(step, stop_if_asked))
        measured = {}
        if self._validation_due(step):
            with self._averaged():
                measured["val_loss"] = self._validation_loss()
        if self.distances and self.distances.is_due(step):
            with self._averaged() as model:
                pipeline = Pipeline(model._replace(config=self.distances.config), segmenter.load)
                measured[self.distances.score] = self.distances.take(pipeline, step, stop_if_asked)
        return measured

    def _validation_due(self, step: int) -> bool:
        return self.due(step, self.config.diffusion_training.validate_every)

    def _keep_and_show(self, step: int, stop_if_asked: Callable[[], None]) -> None:
        if self.checkpoint_due(step):
            self._keep(step)
        if self.due(step, self.checkpoint_every):
            with self._averaged() as model:
                self.show_samples(model, samples_path(self.folder, step), stop_if_asked)

    def _keep(self, step: int) -> None:
        """Write the averages as a whole model that inference can use."""
        autoencoder, averages = checkpoint.state_dict(self.model.space.autoencoder), self.ema.state_dict()
        provenance = {**self.provenance, "steps": step}
        save_model(checkpoint_path(self.folder, step), self.config, autoencoder, averages, provenance)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[Model]:
        """The model, with the averages in place while the block runs."""
        with self.ema.applied():
            yield self.model

    def _validation_loss(self) -> float:
        """Mean simple loss on fixed validation latents, noises and timesteps, mask always shown."""
        own = ranks.shard().of(range(VALIDATION_IMAGES))
        size = self.config.diffusion_training.batch_size // self.accumulation_steps // ranks.size()
        summed = 0.0
        with jt.no_grad():
            for start in range(0, len(own), size):
                numbers = own[start : start + size]
                examples = [draw_example(self.validation, number, self.config, "validation") for number in numbers]
                summed += self.loss(examples).simple.item() * len(numbers)
        return ranks.total(np.array([summed]))[0] / VALIDATION_IMAGES


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
