"""Train the SegFormer that judges painted images, from nothing, on any data folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import jittor as jt
import numpy as np
from jittor import nn

from jiidm.classes import CLASS_NAMES, NUM_CLASSES
from jiidm.config.schema import Config
from jiidm.data.images import load_image, load_mask, resize_image, resize_mask
from jiidm.data.pairs import Pair
from jiidm.data.prefetch import load_ahead
from jiidm.evaluate.segformer import PRESETS, Architecture, SegFormer, upsample_bilinear
from jiidm.evaluate.segmenter import PREPROCESSING, Segmenter, normalized
from jiidm.report.sheets import plot_losses, table
from jiidm.seeding import generator
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

SEGMENTER_FILE = "segmenter.safetensors"
LOG_EVERY = 20
VALIDATE_EVERY = 500
VALIDATION_IMAGES = 64
LOSS_STRIDE = 2
"""The loss looks at every second row and column, a new choice each step: a quarter of the work, the same mean."""
MAX_BLUR = 4.0
"""Painted images are less sharp than photos: up to so many pixels become one."""


def train_segmenter(
    config: Config, train: Sequence[Pair], validation: Sequence[Pair], folder: Path, provenance: dict[str, Any]
) -> None:
    """Train until max_steps, from `folder`/segmenter_state if it exists, and write `folder`/segmenter.safetensors.

    Prints what is found of each class in the validation pairs. `provenance` goes into the file, and the accuracy too.
    """
    training = config.segmenter
    jt.set_global_seed(config.seed)
    network = SegFormer(Architecture(*PRESETS[training.variant], NUM_CLASSES))
    segmenter = Segmenter(network, {**PREPROCESSING, "resize": list(training.size)})
    trainer = Trainer(network, weight_decay=training.weight_decay)
    state_path = folder / "segmenter_state.safetensors"
    first_step = _resume(trainer, state_path)

    batches = load_ahead(partial(_load_batch, config, train), range(first_step, training.max_steps))
    window: list[float] = []
    log = RunLog(folder, "segmenter", first_step, training.max_steps)
    with log, deferred_interrupt() as interrupted:
        for step, (images, masks) in batches:
            loss = _loss(segmenter, images, masks, generator(config.seed, "grid", step))
            window += trainer.step(iter([loss]), 1, step, learning_rate_at(step, training))
            log.advance(window[-1])
            done = step + 1
            if done % LOG_EVERY == 0 or done == training.max_steps:
                log.record(done, loss=float(np.mean(window)))
                window = []
            if done % VALIDATE_EVERY == 0 or interrupted.is_set():
                save_state(state_path, {"trainer": trainer.state()}, {"step": done})
            if interrupted.is_set():
                raise KeyboardInterrupt
            if done % VALIDATE_EVERY == 0:
                confusion = confusion_matrix(segmenter, validation[:VALIDATION_IMAGES])
                log.record(done, pixel_accuracy=pixel_accuracy(confusion))
    plot_losses(log.path, folder / "segmenter_loss.png")
    confusion = confusion_matrix(segmenter, validation)
    accuracy = pixel_accuracy(confusion)
    print(f"{class_table(confusion)}\npixel accuracy on {len(validation)} validation images: {100 * accuracy:.2f} %")
    metadata = {"preprocessing": segmenter.preprocessing, "provenance": {**provenance, "pixel_accuracy": accuracy}}
    checkpoint.save(folder / SEGMENTER_FILE, checkpoint.state_dict(network), metadata)
    state_path.unlink(missing_ok=True)


def _resume(trainer: Trainer, path: Path) -> int:
    """Restore what is saved; returns the steps done."""
    saved = load_state(path, ("trainer",))
    if saved is None:
        return 0
    parts, metadata = saved
    trainer.load_state(parts["trainer"], str(path))
    return metadata["step"]


def _load_batch(config: Config, pairs: Sequence[Pair], step: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    examples = []
    for number in micro_batches(step, config.segmenter.batch_size, 1)[0]:
        pair = pairs[sample_index(number, len(pairs), config.seed)]
        rng = generator(config.seed, "augment", number)
        examples.append(augment(load_image(pair.image), load_mask(pair.label), config.segmenter.size, rng))
    images, masks = zip(*examples)
    return list(images), list(masks)


def augment(
    image: np.ndarray, mask: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A pair flipped, blurred and recoloured at random: uint8 [h,w,3] and [h,w] of `size` (width, height)."""
    image, mask = resize_image(image, size), resize_mask(mask, size)
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if rng.random() < 0.5:
        image = _blur(image, rng)
    return _recolor(image, rng), mask


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    factor = rng.uniform(1, MAX_BLUR)
    small = cv2.resize(image, (round(width / factor), round(height / factor)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _recolor(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other saturation, contrast, brightness, and colour of the light."""
    x = image.astype(np.float32)
    grey = x.mean(axis=2, keepdims=True)
    x = grey + rng.uniform(0.6, 1.4) * (x - grey)
    x = x.mean() + rng.uniform(0.75, 1.25) * (x - x.mean()) + rng.uniform(-25, 25)
    x *= rng.uniform(0.9, 1.1, 3).astype(np.float32)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _loss(segmenter: Segmenter, images: list[np.ndarray], masks: list[np.ndarray], rng: np.random.Generator) -> jt.Var:
    """Mean cross-entropy in nats of the upsampled logits, on a random grid of pixels."""
    rows, columns = (slice(int(start), None, LOSS_STRIDE) for start in rng.integers(LOSS_STRIDE, size=2))
    masks = np.stack(masks)
    logits = segmenter.network(normalized(images, segmenter.preprocessing))
    logits = upsample_bilinear(logits, masks.shape[1:], rows, columns)
    return nn.cross_entropy_loss(logits, jt.array(masks[:, rows, columns].astype(np.int32)))


def confusion_matrix(segmenter: Segmenter, pairs: Sequence[Pair]) -> np.ndarray:
    """Pixel counts [29,29] over the pairs at their own sizes: rows are the masks' classes, columns the predicted."""
    total = np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    for pair in pairs:
        mask = load_mask(pair.label)
        predicted = segmenter.predict(load_image(pair.image)[None])[0]
        cells = NUM_CLASSES * mask.astype(np.int64) + predicted
        total += np.bincount(cells.ravel(), minlength=total.size).reshape(total.shape)
    return total


def pixel_accuracy(confusion: np.ndarray) -> float:
    """The share of pixels on the diagonal."""
    return float(np.trace(confusion) / confusion.sum())


def class_table(confusion: np.ndarray) -> str:
    """Per class that occurs: its share of the masks' pixels, how many of them were found, intersection over union."""
    found, in_masks, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    rows = []
    for index in np.argsort(-in_masks):
        if in_masks[index]:
            shares = in_masks[index] / confusion.sum(), found[index] / in_masks[index]
            iou = found[index] / (in_masks[index] + predicted[index] - found[index])
            rows.append((CLASS_NAMES[index], *(float(100 * share) for share in (*shares, iou))))
    return table(rows, ("class", "% of pixels", "% found", "IoU %"))
