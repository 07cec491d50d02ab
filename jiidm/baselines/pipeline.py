"""From masks and references to images by a GAN, in one pass. It serves where `jiidm.pipeline.Pipeline` does."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Container, Iterator, Sequence

import jittor as jt
import numpy as np

from jiidm.baselines.model import GANModel
from jiidm.classes import one_hot
from jiidm.data.distance import distance_map
from jiidm.data.reference_masks import ReferenceMasks
from jiidm.evaluate import segmenter
from jiidm.evaluate.segmenter import Segmenter
from jiidm.pipeline import Input, Result, batches, noise_of, read_inputs
from jiidm.system.threads import follow_load
from ldm_jittor.pixels import to_images, to_model

logger = logging.getLogger(__name__)


class GANPipeline:
    """Generates images from masks, in the style of reference photos, at the model's own size.

    How a reference enters: with a VAE its style code is the encoder's mean, or drawn where gan.sample_style is true.
    SEAN takes the mean feature of each class under the reference's own mask, and the mean over the training photos for
    classes that the reference does not show. The mask is the one given, else labels/<stem>.png beside the photo's
    imgs/, else what a segmenter sees. Other GANs have no use for it. Without a VAE the reference has no effect.
    """

    def __init__(self, model: GANModel, load_segmenter: Callable[[], Segmenter] = segmenter.load):
        self.model, self.config = model, model.config
        self._reference_masks = ReferenceMasks(load_segmenter)
        if not self.config.has_vae and self.config.method != "sean":
            logger.warning("%s has no VAE: the references have no effect", self.config.name)

    @property
    def batch_size(self) -> int:
        """How many inputs go through the networks together."""
        return self.config.inference.batch_size

    def num_passes(self, inputs: Sequence[Input], *, wanted: Container[str] | None = None) -> int:
        """Network passes of all batches: how often `stream` will call `on_step` for the same arguments."""
        return len(batches(inputs, self.batch_size, wanted))

    def stream(
        self,
        inputs: Sequence[Input],
        *,
        seed: int,
        wanted: Container[str] | None = None,
        show_starts: Container[str] = (),
        on_step: Callable[[int], object] | None = None,
    ) -> Iterator[Result]:
        """The results of `inputs`, in order; with `wanted` only those named there. They have no `start`.

        Batches are cut from all inputs and generated whole, so a result is the same to the byte whichever are wanted.
        on_step is called after every batch, with 1. Raises InputError for a file that is no mask or photo.
        """
        for batch in batches(inputs, self.batch_size, wanted):
            follow_load()
            masks, references = read_inputs(batch, self.config.data.size)
            with jt.no_grad():
                images = self._generate(batch, masks, references, seed)
            if on_step is not None:
                on_step(1)
            for input_, image, mask, reference in zip(batch, images, masks, references):
                if wanted is None or input_.name in wanted:
                    yield Result(input_.name, image, None, mask, reference)

    def _generate(
        self, batch: Sequence[Input], masks: Sequence[np.ndarray], references: Sequence[np.ndarray], seed: int
    ) -> np.ndarray:
        """uint8 RGB [B,H,W,3]."""
        network, names, counter = self.model.network, [input_.name for input_ in batch], itertools.count()
        style = None
        if self.config.has_vae:
            mean, log_variance = network.encoder(to_model(references))
            style = mean
            if self.config.gan.sample_style:
                style = mean + noise_of(seed, names, mean.shape, 0, "style") * jt.exp(0.5 * log_variance)
        elif self.config.method == "sean":
            style = self._style_codes(batch, references)
        distance = jt.array(np.stack(list(map(distance_map, masks)))) if network.with_distance else None
        segmap = jt.array(np.stack(list(map(one_hot, masks))))
        images, _ = network(segmap, style, distance, lambda shape: noise_of(seed, names, shape, 0, next(counter)))
        return to_images(images)

    def _style_codes(self, batch: Sequence[Input], references: Sequence[np.ndarray]) -> jt.Var:
        """SEAN's codes [B,classes,style_channels] of the references, each under its own mask."""
        assert self.model.mean_codes is not None  # a SEAN has them
        masks = [self._reference_masks.of(i.reference, i.reference_mask, photo) for i, photo in zip(batch, references)]
        segmaps = jt.array(np.stack(list(map(one_hot, masks))))
        codes = self.model.network.generator.style_codes(to_model(references), segmaps).numpy()
        return jt.array(np.where(codes.any(axis=2, keepdims=True), codes, self.model.mean_codes))
