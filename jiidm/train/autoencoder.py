"""First stage: train the autoencoder on crops, the discriminator joining in later."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
from jiidm.data.prefetch import load_ahead
from jiidm.model.build import build_autoencoder
from jiidm.report.sheets import plot_losses, sample_grid
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
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import VQModel
from ldm_jittor.losses import PatchDiscriminator, autoencoder_loss, hinge_loss
from ldm_jittor.pixels import to_images, to_model
from ldm_jittor.thumbnail_init import start_as_thumbnail

LOG_EVERY = 20
SAVE_EVERY = 500
ADAM_BETAS = (0.9, 0.99)
MEASURED_IMAGES = 64
"""Training images whose latents seed the codebook, and say what they have to be multiplied by in the end."""
CRITIC_BETAS = (0.5, 0.9)
"""VQGAN's (Esser et al. 2021): less momentum for the adversarial game. The autoencoder learns faster with more."""


def train_autoencoder(
    config: Config, train: Sequence[Pair], validation: Sequence[Pair], folder: Path, provenance: dict[str, Any]
) -> None:
    """Train until max_steps and write `folder`/autoencoder.safetensors; goes on from `folder`/autoencoder_state.

    With the weights the file holds `provenance` and the config, its latent scale replaced by one over the latents'
    standard deviation: what diffusion learns in them depends on it.
    """
    training = config.autoencoder_training
    jt.set_global_seed(config.seed)
    autoencoder, discriminator = build_autoencoder(config.autoencoder), PatchDiscriminator()
    trainer = Trainer(autoencoder, ADAM_BETAS)
    critic = Trainer(discriminator, CRITIC_BETAS)
    state_path = folder / "autoencoder_state.safetensors"
    saved = load_state(state_path, ("autoencoder", "discriminator"))
    first_step = 0
    if saved:
        parts, metadata = saved
        trainer.load_state(parts["autoencoder"], str(state_path))
        critic.load_state(parts["discriminator"], str(state_path))
        first_step = metadata["step"]
    else:
        try:
            start_as_thumbnail(autoencoder)
        except ValueError as error:
            print(f"autoencoder: starts from random weights, for {error}")

    def save(step: int) -> None:
        parts = {"autoencoder": trainer.state(), "discriminator": critic.state()}
        save_state(state_path, parts, {"step": step})

    batches = load_ahead(partial(_load_crops, config, train), range(first_step, training.max_steps))
    log = RunLog(folder, "autoencoder", first_step, training.max_steps)
    with log, deferred_interrupt() as interrupted:
        for step, crops in batches:
            if step == training.quantization_start and isinstance(autoencoder, VQModel):
                _seed_codebook(autoencoder, config, train)
            values = _step(config, trainer, critic, crops, step)
            log.advance(values["loss"])
            done = step + 1
            if done % LOG_EVERY == 0 or done == training.max_steps:
                log.record(done, **values)
            if done % SAVE_EVERY == 0 or interrupted.is_set():
                save(done)
            if interrupted.is_set():
                raise KeyboardInterrupt
    psnr = _evaluate(config, autoencoder, validation, folder)
    print(f"autoencoder: reconstruction PSNR {psnr:.1f} dB on {min(len(validation), 16)} validation images")
    plot_losses(folder / "autoencoder.jsonl", folder / "autoencoder_loss.png")
    scale = 1 / float(_latents(autoencoder, config, train).std())
    config = dataclasses.replace(config, autoencoder=dataclasses.replace(config.autoencoder, latent_scale=scale))
    metadata = {
        "config": configs.to_dict(config),
        "step": training.max_steps,
        "psnr": psnr,
        "provenance": provenance,
    }
    checkpoint.save(folder / "autoencoder.safetensors", checkpoint.state_dict(autoencoder), metadata)
    state_path.unlink(missing_ok=True)


def _load_crops(config: Config, pairs: Sequence[Pair], step: int) -> list[np.ndarray]:
    """The crops of a step, uint8 [h,w,3], flipped at random; all drawn from (seed, sample number)."""
    width, height = config.autoencoder_training.crop_size
    crops = []
    for number in micro_batches(step, config.autoencoder_training.batch_size, 1)[0]:
        image = load_image(pairs[sample_index(number, len(pairs), config.seed)].image, config.data.size)
        rng = generator(config.seed, "crop", number)
        top = int(rng.integers(image.shape[0] - height + 1))
        left = int(rng.integers(image.shape[1] - width + 1))
        crop = image[top : top + height, left : left + width]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return crops


def _step(
    config: Config, trainer: Trainer, critic: Trainer, crops: Sequence[np.ndarray], step: int
) -> dict[str, float]:
    """One update of the autoencoder and, once it takes part, one of the discriminator."""
    training, x = config.autoencoder_training, to_model(crops)
    side = config.autoencoder.downsample
    shape = (len(crops), config.autoencoder.latent_channels, x.shape[2] // side, x.shape[3] // side)
    noise = jt.array(normal(shape, config.seed, "posterior", step))
    quantize = {"quantize": step >= training.quantization_start} if isinstance(trainer.module, VQModel) else {}
    reconstruction, regularization = trainer.module(x, noise, **quantize)
    adversarial = step >= training.discriminator_start
    loss = autoencoder_loss(
        x,
        reconstruction,
        regularization,
        training.regularization_weight,
        trainer.module.last_layer,
        critic.module(reconstruction) if adversarial else None,
        training.discriminator_weight,
    )
    frozen = reconstruction.detach()
    trainer.step(iter([loss.total]), 1, step, learning_rate_at(step, training))
    values = {
        "loss": loss.total.item(),
        "reconstruction": loss.reconstruction.item(),
        "regularization": loss.regularization.item(),
    }
    if adversarial:
        hinge = hinge_loss(critic.module(x), critic.module(frozen))
        values["discriminator"] = critic.step(
            iter([hinge]), 1, step - training.discriminator_start, learning_rate_at(step, training)
        )[0]
        values["adversarial_weight"] = loss.adversarial_weight.item()
    return values


def _seed_codebook(autoencoder: VQModel, config: Config, pairs: Sequence[Pair]) -> None:
    """Put the codes at latents of real images: from taming's tiny uniform start, most would never be used."""
    z = _latents(autoencoder, config, pairs)
    vectors = z.transpose(0, 2, 3, 1).reshape(-1, z.shape[1])
    codes = config.autoencoder.codebook_size
    rows = generator(config.seed, "codebook").choice(len(vectors), codes, replace=len(vectors) < codes)
    autoencoder.quantize.embedding.weight.assign(jt.array(vectors[rows]))


def _latents(autoencoder, config: Config, pairs: Sequence[Pair]) -> np.ndarray:
    """Unscaled latents [N,C,h,w] of up to `MEASURED_IMAGES` of the pairs, chosen at random."""
    count = min(MEASURED_IMAGES, len(pairs))
    chosen = [pairs[sample_index(i, len(pairs), config.seed)].image for i in range(count)]
    latents = []
    with jt.no_grad():
        for path in tqdm(chosen, desc="measuring latents", unit="image", delay=2):
            latents.append(autoencoder.encode(to_model([load_image(path, config.data.size)])).numpy())
    return np.concatenate(latents)


def _evaluate(config: Config, autoencoder, pairs: Sequence[Pair], folder: Path) -> float:
    """Mean PSNR in dB over up to 16 images; `folder`/reconstructions.png shows 8 of them above their copies."""
    images = [load_image(pair.image, config.data.size) for pair in pairs[:16]]
    copies = []
    with jt.no_grad():
        for image in images:
            copies.append(to_images(autoencoder.decode(autoencoder.encode(to_model([image]))))[0])
    shown = min(8, len(images))
    sample_grid(images[:shown] + copies[:shown], folder / "reconstructions.png", columns=shown)
    errors = [np.mean((a.astype(float) - b.astype(float)) ** 2) for a, b in zip(images, copies)]
    return float(np.mean([10 * np.log10(255**2 / max(error, 1e-10)) for error in errors]))
