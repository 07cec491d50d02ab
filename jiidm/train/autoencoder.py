"""First stage: train the autoencoder on crops. The discriminator joins later."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
from tqdm import tqdm

from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.data.images import load_image
from jiidm.data.pairs import Pair
from jiidm.model.build import build_autoencoder
from jiidm.report.sheets import sample_grid
from jiidm.seeding import generator, normal
from jiidm.system import ranks
from jiidm.train.loop import fit
from jiidm.train.optimizer import Optimizer, learning_rate_at
from jiidm.train.stage import Losses, Stage, micro_batches, sample_index, seed_weights
from jiidm.train.state import remove_state
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import AutoencoderKL, VQModel
from ldm_jittor.losses import PatchDiscriminator, autoencoder_loss, hinge_loss
from ldm_jittor.pixels import to_images, to_model
from ldm_jittor.thumbnail_init import start_as_thumbnail

logger = logging.getLogger(__name__)

AUTOENCODER_FILE = "autoencoder.safetensors"
ADAM_BETAS = (0.9, 0.99)
DISCRIMINATOR_BETAS = (0.5, 0.9)
"""VQGAN's (Esser et al. 2021): less momentum for the adversarial game. The autoencoder learns faster with more."""
MEASURED_IMAGES = 64
"""Training images whose latents seed the codebook, and tell the factor on the latents in the end."""
VALIDATION_IMAGES, SHOWN_IMAGES = 16, 8


def train_autoencoder(
    config: Config, train: Sequence[Pair], validation: Sequence[Pair], folder: Path, provenance: dict[str, Any]
) -> None:
    """Train until max_steps and write `folder`/autoencoder.safetensors. It goes on from `folder`/autoencoder_state.

    Besides the weights the file holds `provenance` and the config. The config's latent scale is one over the latents'
    standard deviation, since what diffusion learns in them depends on it.
    """
    stage = AutoencoderStage(config, train, provenance)
    steps = fit(stage, folder)
    ranks.on_first(lambda: _finish(stage, steps, validation, folder))


def _finish(stage: AutoencoderStage, steps: int, validation: Sequence[Pair], folder: Path) -> None:
    config, train, provenance = stage.config, stage.train, stage.provenance
    psnr = _reconstruct(config, stage.network, validation, folder)
    shown = min(len(validation), VALIDATION_IMAGES)
    logger.info("autoencoder: reconstruction PSNR %.1f dB on %d validation images", psnr, shown)
    scale = 1 / float(_latents(stage.network, config, train).std())
    config = dataclasses.replace(config, autoencoder=dataclasses.replace(config.autoencoder, latent_scale=scale))
    metadata = {"config": configs.to_dict(config), "step": steps, "psnr": psnr, "provenance": provenance}
    checkpoint.save(folder / AUTOENCODER_FILE, checkpoint.state_dict(stage.network), metadata)
    remove_state(folder / stage.state_file)


class AutoencoderStage(Stage):
    """VQGAN's losses (Esser et al. 2021): the autoencoder's turn, then the discriminator's once it takes part."""

    name, state_file, plot_file = "autoencoder", "autoencoder_state.safetensors", "autoencoder_loss.png"
    log_every = 20

    def __init__(self, config: Config, train: Sequence[Pair], provenance: dict[str, Any]):
        training = config.autoencoder_training
        seed_weights(config.seed)
        self.config, self.train, self.provenance = config, train, provenance
        self.max_steps, self.checkpoint_every = training.max_steps, training.checkpoint_every
        self.network, self.discriminator = build_autoencoder(config.autoencoder), PatchDiscriminator()
        rate = partial(learning_rate_at, settings=training)
        self.optimizer = Optimizer(self.network, rate, ADAM_BETAS)
        self.discriminator_optimizer = Optimizer(self.discriminator, rate, DISCRIMINATOR_BETAS)
        self.optimizers = {"autoencoder": self.optimizer, "discriminator": self.discriminator_optimizer}

    def begin(self, step: int) -> None:
        if step == 0:
            try:
                start_as_thumbnail(self.network)
            except ValueError as error:
                logger.info("autoencoder: starts from random weights, for %s", error)

    def load_batch(self, step: int) -> list[np.ndarray]:
        """The crops of a step, uint8 [h,w,3], flipped at random. All draws come from (seed, sample number)."""
        config = self.config
        height, width = config.autoencoder_training.crop_size
        crops = []
        for number in self._numbers(step):
            pair = self.train[sample_index(number, len(self.train), config.seed)]
            image = load_image(pair.image, config.data.size)
            rng = generator(config.seed, "crop", number)
            top = int(rng.integers(image.shape[0] - height + 1))
            left = int(rng.integers(image.shape[1] - width + 1))
            crop = image[top : top + height, left : left + width]
            crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
        return crops

    def _numbers(self, step: int) -> range:
        return micro_batches(step, self.config.autoencoder_training.batch_size)[0]

    def losses(self, batch: list[np.ndarray], step: int) -> Iterator[tuple[Optimizer, Losses]]:
        training, x = self.config.autoencoder_training, to_model(batch)
        vq = isinstance(self.network, VQModel)
        if vq and step == training.quantization_start:
            self._seed_codebook()
        quantize = {"quantize": step >= training.quantization_start} if vq else {}
        reconstruction, regularization = self.network(x, self._posterior_noise(x, step), **quantize)
        adversarial = step >= training.discriminator_start
        loss = autoencoder_loss(
            x,
            reconstruction,
            regularization,
            training.regularization_weight,
            self.network.last_layer,
            self.discriminator(reconstruction) if adversarial else None,
            training.discriminator_weight,
            ranks.mean,
        )
        fake = reconstruction.detach()
        terms = {"loss": loss.total, "reconstruction": loss.reconstruction, "regularization": loss.regularization}
        if adversarial:
            terms["adversarial_weight"] = loss.adversarial_weight
        yield self.optimizer, iter([terms])
        if adversarial:
            hinge = hinge_loss(self.discriminator(x), self.discriminator(fake))
            yield self.discriminator_optimizer, iter([{"discriminator": hinge}])

    def _posterior_noise(self, x: jt.Var, step: int) -> jt.Var:
        side = self.config.autoencoder.downsample
        shape = (self.config.autoencoder.latent_channels, x.shape[2] // side, x.shape[3] // side)
        draws = [normal(shape, self.config.seed, "posterior", number) for number in self._numbers(step)]
        return jt.array(np.stack(draws))

    def _seed_codebook(self) -> None:
        """Put the codes at latents of real images. With taming's tiny uniform start, most would never be used."""
        z = _latents(self.network, self.config, self.train)
        vectors = z.transpose(0, 2, 3, 1).reshape(-1, z.shape[1])
        codes = self.config.autoencoder.codebook_size
        rows = generator(self.config.seed, "codebook").choice(len(vectors), codes, replace=len(vectors) < codes)
        self.network.quantize.embedding.weight.assign(jt.array(vectors[rows]))

    def load_state(self, arrays: Mapping[str, np.ndarray], counters: Mapping[str, Any], source: str) -> None:
        # older files do not count the updates
        late = max(0, counters["step"] - self.config.autoencoder_training.discriminator_start)
        updates = counters.get("updates", {"autoencoder": counters["step"], "discriminator": late})
        super().load_state(arrays, {**counters, "updates": updates}, source)


def _latents(autoencoder: VQModel | AutoencoderKL, config: Config, pairs: Sequence[Pair]) -> np.ndarray:
    """Unscaled latents [N,C,h,w] of up to `MEASURED_IMAGES` of the pairs, chosen at random."""
    count = min(MEASURED_IMAGES, len(pairs))
    chosen = [pairs[sample_index(i, len(pairs), config.seed)].image for i in range(count)]
    latents = []
    with jt.no_grad():
        for path in tqdm(chosen, desc="measuring latents", unit="image", delay=2):
            latents.append(autoencoder.encode(to_model([load_image(path, config.data.size)])).numpy())
    return np.concatenate(latents)


def _reconstruct(config: Config, autoencoder: VQModel | AutoencoderKL, pairs: Sequence[Pair], folder: Path) -> float:
    """Mean PSNR in dB over the first pairs; `folder`/reconstructions.png shows some of them above their copies."""
    images = [load_image(pair.image, config.data.size) for pair in pairs[:VALIDATION_IMAGES]]
    copies = []
    with jt.no_grad():
        for image in images:
            copies.append(to_images(autoencoder.decode(autoencoder.encode(to_model([image]))))[0])
    shown = min(SHOWN_IMAGES, len(images))
    sample_grid(images[:shown] + copies[:shown], folder / "reconstructions.png", columns=shown)
    errors = [np.mean((a.astype(float) - b.astype(float)) ** 2) for a, b in zip(images, copies)]
    return float(np.mean([10 * np.log10(255**2 / max(error, 1e-10)) for error in errors]))
