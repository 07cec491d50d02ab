"""Training a GAN: each step the generator's turn, then the discriminator's (Park et al. 2019, arXiv:1903.07291)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jittor as jt
import numpy as np

from jiidm.baselines.adversarial import GAMES
from jiidm.baselines.losses import kl_divergence, mean
from jiidm.baselines.model import GAN, GANModel, discriminator_of, evaluating, save_gan
from jiidm.baselines.pipeline import GANPipeline
from jiidm.classes import NUM_CLASSES, one_hot
from jiidm.config.schema import Config
from jiidm.data.distance import distance_map
from jiidm.data.images import load_image, load_mask
from jiidm.data.pairs import Pair
from jiidm.model.gan.sean import Noise
from jiidm.seeding import generator, normal
from jiidm.system import ranks
from jiidm.train.checkpoints import checkpoint_path, samples_path
from jiidm.train.optimizer import Optimizer
from jiidm.train.ranked_stage import RankedStage
from jiidm.train.stage import Losses, micro_batches, sample_index, seed_weights
from jiidm.train.validation import Validation
from ldm_jittor.ema import EMA
from ldm_jittor.pixels import to_model

STATE_FILE = "state.safetensors"
SETTLING_STEPS = 50
"""Batches on which averaged weights gather the running statistics of their own norms, as OASIS' code does."""
STYLE_PHOTOS = 256
"""Training photos whose style codes give each class's mean."""
GENERATOR_TURN, DISCRIMINATOR_TURN, SETTLING = 0, 1, 2


class Batch(NamedTuple):
    """Training examples. Every draw comes from (seed, sample number)."""

    numbers: range
    images: list[np.ndarray]
    """uint8 RGB [H,W,3] each."""
    segmaps: np.ndarray
    """One-hot float32 [B,classes,H,W]."""
    distances: np.ndarray | None
    """CLADE's maps [B,2,H,W], where the config has them."""


class GANStage(RankedStage):
    """Reconstruct photos from their masks and their own style.

    As published the discriminator's turn sees new fakes, with new noise, of the generator that has just been updated.
    They are made in training mode, so running statistics and spectral norms advance twice a step.
    Every checkpoint_every steps `show_samples(model, picture, stop_if_asked)` is called. Where `distances` are due, the
    model is kept as `folder`/checkpoints/step_<n>.safetensors.
    """

    name, state_file, plot_file = "gan", STATE_FILE, "loss.png"
    network: GAN

    def __init__(
        self,
        config: Config,
        train: Sequence[Pair],
        folder: Path,
        provenance: dict[str, Any],
        show_samples: Callable[[GANModel, Path, Callable[[], None]], None],
        perceptual: Callable[[jt.Var, jt.Var], jt.Var] | None = None,
        distances: Validation | None = None,
    ):
        """perceptual: a loss of fake and real images [B,3,H,W] in [-1, 1]."""
        training = config.gan_training
        seed_weights(config.seed)
        self.config, self.train, self.folder, self.provenance = config, train, folder, provenance
        self.show_samples, self.perceptual, self.distances = show_samples, perceptual, distances
        self.max_steps, self.log_every = training.max_steps, training.log_every
        self.checkpoint_every = training.checkpoint_every
        self.network, self.discriminator = GAN(config), discriminator_of(config)
        self.game = GAMES[training.adversarial](self.discriminator, training)
        betas = (0.0, training.adam_beta2)
        rates = [partial(self._rate, rate) for rate in (training.generator_rate, training.discriminator_rate)]
        self.optimizer = Optimizer(self.network, rates[0], betas)
        self.discriminator_optimizer = Optimizer(self.discriminator, rates[1], betas)
        self.optimizers = {"generator": self.optimizer, "discriminator": self.discriminator_optimizer}
        self.ema = None if training.ema_decay is None else EMA(self.network, training.ema_decay)

    def _rate(self, rate: float, step: int) -> float:
        """The rate of a step: constant, then down to 0 in a straight line."""
        left, decay_steps = self.max_steps - step, self.config.gan_training.decay_steps
        return rate * min(1.0, left / decay_steps) if decay_steps else rate

    def load_batch(self, step: int) -> Batch:
        return self._load(micro_batches(step, self.config.gan_training.batch_size)[0])

    def _load(self, numbers: range) -> Batch:
        """Pairs at the config's size, every second one mirrored."""
        images, masks = [], []
        for number in numbers:
            pair = self.train[sample_index(number, len(self.train), self.config.seed)]
            image, mask = load_image(pair.image, self.config.data.size), load_mask(pair.label, self.config.data.size)
            mirrored = generator(self.config.seed, "mirror", number).random() < 0.5
            images.append(image[:, ::-1] if mirrored else image)
            masks.append(mask[:, ::-1] if mirrored else mask)
        distances = np.stack([distance_map(mask) for mask in masks]) if self.network.with_distance else None
        return Batch(numbers, images, np.stack([one_hot(mask) for mask in masks]), distances)

    def losses(self, batch: Batch, step: int) -> Iterator[tuple[Optimizer, Losses]]:
        real, segmap = to_model(batch.images), jt.array(batch.segmaps)
        yield self.optimizer, iter([self._generator_losses(batch, real, segmap)])
        with jt.no_grad():
            fake = self._reconstruct(batch, real, segmap, DISCRIMINATOR_TURN)[0].detach()
        draw = partial(self._draw, batch.numbers)
        yield self.discriminator_optimizer, iter([self.game.discriminator_terms(segmap, fake, real, draw)])

    def _generator_losses(self, batch: Batch, real: jt.Var, segmap: jt.Var) -> dict[str, jt.Var]:
        training = self.config.gan_training
        fake, auxiliary, posterior = self._reconstruct(batch, real, segmap, GENERATOR_TURN)
        terms = self.game.generator_terms(segmap, fake, real)
        if self.perceptual is not None:
            terms["perceptual"] = training.perceptual_weight * self.perceptual(fake, real)
        if posterior is not None:
            # a sum over the batch, while ranks average their losses
            terms["kl"] = ranks.size() * training.kl_weight * kl_divergence(*posterior)
        if auxiliary is not None:
            terms["auxiliary"] = training.auxiliary_weight * mean(jt.abs(auxiliary - real))
        loss = sum(terms.values())
        loss.sync()  # fused with the way back, whose sums over ranks it has not alone, the way there rounds otherwise
        return {"loss": loss, **terms}

    def _reconstruct(
        self, batch: Batch, real: jt.Var, segmap: jt.Var, turn: int
    ) -> tuple[jt.Var, jt.Var | None, tuple[jt.Var, jt.Var] | None]:
        """Images from masks and their photos' style, SCGAN's auxiliary images, mean and log variance of the VAE."""
        style = posterior = None
        if self.config.has_vae:
            posterior = self.network.encoder(real)
            eps = jt.array(self._draw(batch.numbers, tuple(posterior[0].shape[1:]), "style", turn))
            style = posterior[0] + eps * jt.exp(0.5 * posterior[1])
        elif self.config.method == "sean":
            style = self.network.generator.style_codes(real, segmap)
        distance = None if batch.distances is None else jt.array(batch.distances)
        fake, auxiliary = self.network(segmap, style, distance, self._noise(batch.numbers, turn))
        return fake, auxiliary, posterior

    def _noise(self, numbers: range, turn: int) -> Noise:
        counter = itertools.count()
        return lambda shape: jt.array(self._draw(numbers, shape[1:], "noise", turn, next(counter)))

    def _draw(self, numbers: range, shape: tuple[int, ...], *key: int | str) -> np.ndarray:
        return np.stack([normal(shape, self.config.seed, "gan", number, *key) for number in numbers])

    def evaluate(self, step: int, stop_if_asked: Callable[[], None]) -> dict[str, float]:
        """Show sample images. Where a distance is due, keep the model and take it; each rank brings some images."""
        if not self.checkpoint_due(step):
            return {}
        with self.final() as model:
            ranks.on_first(lambda: self._show_and_keep(model, step, stop_if_asked))
            if self.distances is None or not self._distance_due(step):
                return {}
            return {self.distances.score: self.distances.take(GANPipeline(model), step, stop_if_asked)}

    def _show_and_keep(self, model: GANModel, step: int, stop_if_asked: Callable[[], None]) -> None:
        if self.due(step, self.checkpoint_every):
            self.show_samples(model, samples_path(self.folder, step), stop_if_asked)
        if self._distance_due(step):
            save_gan(checkpoint_path(self.folder, step), model, {**self.provenance, "steps": step})

    @contextlib.contextmanager
    def final(self) -> Iterator[GANModel]:
        """The model as it would be used, while the block runs: averaged weights if there are any, evaluation mode.

        All ranks enter it together, and each does a part of what averaged weights and SEAN's codes need.
        """
        with contextlib.ExitStack() as stack:
            if self.ema is not None:
                stack.enter_context(self.ema.applied())
                self._settle()
            stack.enter_context(evaluating(self.network))
            codes = mean_codes(self.network, self.train, self.config) if self.config.method == "sean" else None
            yield GANModel(self.config, self.network, codes)

    def _settle(self) -> None:
        """Forward passes in training mode: running statistics and spectral norms come to fit the averaged weights."""
        size = self.config.gan_training.batch_size
        with jt.no_grad():
            for step in range(SETTLING_STEPS):
                batch = self._load(micro_batches(step, size)[0])
                real, segmap = to_model(batch.images), jt.array(batch.segmaps)
                self._reconstruct(batch, real, segmap, SETTLING)
                jt.sync_all()  # on all ranks now, not when one of them reads an average


def mean_codes(network: GAN, pairs: Sequence[Pair], config: Config) -> np.ndarray:
    """SEAN's mean style code of each class over the photos that show it [classes,style_channels], zeros for no photo.

    It looks at up to STYLE_PHOTOS of the pairs, chosen at random, each rank at a part of them.
    """
    total, seen = np.zeros((NUM_CLASSES, config.gan.style_channels)), np.zeros((NUM_CLASSES, 1))
    with jt.no_grad():
        for number in ranks.shard().of(range(min(STYLE_PHOTOS, len(pairs)))):
            pair = pairs[sample_index(number, len(pairs), config.seed)]
            image = to_model([load_image(pair.image, config.data.size)])
            segmap = one_hot(load_mask(pair.label, config.data.size))[None]
            codes = network.generator.style_codes(image, jt.array(segmap)).numpy()[0]
            total += codes
            seen += codes.any(axis=1, keepdims=True)
    return (ranks.total(total) / np.maximum(ranks.total(seen), 1)).astype(np.float32)
