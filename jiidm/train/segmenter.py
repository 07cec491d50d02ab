"""Train the SegFormer behind M from nothing, on any data folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Sequence
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
from jiidm.evaluate.segformer import PRESETS, Architecture, SegFormer, upsample_bilinear
from jiidm.evaluate.segmenter import PREPROCESSING, Segmenter, normalized
from jiidm.report.tables import table
from jiidm.seeding import generator
from jiidm.size import Size
from jiidm.system import ranks
from jiidm.train.loop import fit
from jiidm.train.optimizer import Optimizer, learning_rate_at
from jiidm.train.stage import Losses, Stage, micro_batches, sample_index, seed_weights
from jiidm.train.state import remove_state
from ldm_jittor import checkpoint

logger = logging.getLogger(__name__)

SEGMENTER_FILE = "segmenter.safetensors"
VALIDATION_IMAGES = 64
LOSS_STRIDE = 2
"""The loss looks at every second row and column, with a new choice each step: a quarter of the work, the same mean."""
MAX_BLUR = 4.0
"""Generated images are less sharp than photos. Up to this many pixels become one."""


def train_segmenter(
    config: Config, train: Sequence[Pair], validation: Sequence[Pair], folder: Path, provenance: dict[str, Any]
) -> None:
    """Train until max_steps, from `folder`/segmenter_state if it exists, and write `folder`/segmenter.safetensors.

    It reports how much of each class it finds in the validation pairs. The file holds `provenance` and the accuracy
    too.
    """
    stage = SegmenterStage(config, train, validation, provenance)
    fit(stage, folder)
    confusion = stage.confusion(validation)
    ranks.on_first(lambda: _finish(stage, confusion, folder))


def _finish(stage: SegmenterStage, confusion: np.ndarray, folder: Path) -> None:
    accuracy = pixel_accuracy(confusion)
    logger.info("%s", class_table(confusion))
    logger.info("pixel accuracy on %d validation images: %.2f %%", len(stage.validation), 100 * accuracy)
    provenance = {**stage.provenance, "pixel_accuracy": accuracy}
    metadata = {"preprocessing": stage.segmenter.preprocessing, "provenance": provenance}
    checkpoint.save(folder / SEGMENTER_FILE, checkpoint.state_dict(stage.network), metadata)
    remove_state(folder / stage.state_file)


class SegmenterStage(Stage):
    """Cross-entropy of the masks' classes, on augmented pairs."""

    name, state_file, plot_file = "segmenter", "segmenter_state.safetensors", "segmenter_loss.png"
    log_every = 20

    def __init__(self, config: Config, train: Sequence[Pair], validation: Sequence[Pair], provenance: dict[str, Any]):
        training = config.segmenter
        seed_weights(config.seed)
        self.config, self.train, self.validation, self.provenance = config, train, validation, provenance
        self.max_steps, self.checkpoint_every = training.max_steps, training.checkpoint_every
        self.network = SegFormer(Architecture(*PRESETS[training.variant], NUM_CLASSES))
        self.segmenter = Segmenter(self.network, {**PREPROCESSING, "resize": list(training.size[::-1])})
        rate = partial(learning_rate_at, settings=training)
        self.optimizer = Optimizer(self.network, rate, weight_decay=training.weight_decay)
        self.optimizers = {"trainer": self.optimizer}

    def load_batch(self, step: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Images uint8 [h,w,3] and masks uint8 [h,w], augmented. Every draw comes from (seed, sample number)."""
        examples = []
        for number in micro_batches(step, self.config.segmenter.batch_size)[0]:
            pair = self.train[sample_index(number, len(self.train), self.config.seed)]
            rng = generator(self.config.seed, "augment", number)
            examples.append(augment(load_image(pair.image), load_mask(pair.label), self.config.segmenter.size, rng))
        images, masks = zip(*examples)
        return list(images), list(masks)

    def losses(self, batch: tuple[list[np.ndarray], list[np.ndarray]], step: int) -> Iterator[tuple[Optimizer, Losses]]:
        images, masks = batch
        loss = segmentation_loss(self.segmenter, images, masks, generator(self.config.seed, "grid", step))
        yield self.optimizer, iter([{"loss": loss}])

    def evaluated(self, step: int, logged: Container[str]) -> bool:
        return "pixel_accuracy" in logged or not self.checkpoint_due(step)

    def evaluate(self, step: int, stop_if_asked: Callable[[], None]) -> dict[str, float]:
        """Pixel accuracy on some of the validation pairs."""
        if not self.checkpoint_due(step):
            return {}
        return {"pixel_accuracy": pixel_accuracy(self.confusion(self.validation[:VALIDATION_IMAGES]))}

    def confusion(self, pairs: Sequence[Pair]) -> np.ndarray:
        """The pairs' `confusion_matrix`, to which each rank brings its part of them."""
        return ranks.total(confusion_matrix(self.segmenter, ranks.shard().of(pairs)).astype(np.float64))


def augment(image: np.ndarray, mask: np.ndarray, size: Size, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A pair flipped, blurred and recoloured at random: uint8 [h,w,3] and [h,w] of `size`."""
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
    """Change saturation, contrast, brightness, and the colour of the light."""
    x = image.astype(np.float32)
    grey = x.mean(axis=2, keepdims=True)
    x = grey + rng.uniform(0.6, 1.4) * (x - grey)
    x = x.mean() + rng.uniform(0.75, 1.25) * (x - x.mean()) + rng.uniform(-25, 25)
    x *= rng.uniform(0.9, 1.1, 3).astype(np.float32)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def segmentation_loss(
    segmenter: Segmenter, images: list[np.ndarray], masks: list[np.ndarray], rng: np.random.Generator
) -> jt.Var:
    """Mean cross-entropy in nats of the upsampled logits, on a random grid of pixels."""
    rows, columns = (slice(int(start), None, LOSS_STRIDE) for start in rng.integers(LOSS_STRIDE, size=2))
    labels = np.stack(masks)
    logits = segmenter.network(normalized(images, segmenter.preprocessing))
    logits = upsample_bilinear(logits, labels.shape[1:], rows, columns)
    return nn.cross_entropy_loss(logits, jt.array(labels[:, rows, columns].astype(np.int32)))


def confusion_matrix(segmenter: Segmenter, pairs: Sequence[Pair]) -> np.ndarray:
    """Pixel counts [29,29] over the pairs at their own sizes: rows by the mask, columns by the prediction."""
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
    """For each class that occurs: its share of the masks' pixels, the share found of them, intersection over union."""
    found, in_masks, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    rows = []
    for index in np.argsort(-in_masks):
        if in_masks[index]:
            shares = in_masks[index] / confusion.sum(), found[index] / in_masks[index]
            iou = found[index] / (in_masks[index] + predicted[index] - found[index])
            rows.append((CLASS_NAMES[index], *(float(100 * share) for share in (*shares, iou))))
    return table(rows, ("class", "% of pixels", "% found", "IoU %"))
