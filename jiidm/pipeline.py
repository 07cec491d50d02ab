"""Algorithm 2: rounds of colour transfer, encoding, noising, denoising under the mask, decoding; all in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jittor as jt
import numpy as np

from jiidm.color import color_transfer
from jiidm.config.schema import Round
from jiidm.data.images import jpeg_round_trip, resize_mask
from jiidm.data.pairs import one_hot
from jiidm.model.files import Model
from jiidm.model.footprint import fitting_batch
from jiidm.seeding import normal
from ldm_jittor.denoiser import Denoiser
from ldm_jittor.pixels import to_images, to_model
from ldm_jittor.samplers import SAMPLERS


class Batch(NamedTuple):
    images: np.ndarray
    """Results, uint8 RGB [B,H,W,3]."""
    starts: np.ndarray
    """The first round's noisy start, decoded: D(z_T), uint8 RGB [B,H,W,3]."""


class IIDMPipeline:
    """Paints masks in the style of reference photos, at the model's own size.

    Noise belongs to (seed, name, round, step), so an image does not depend on its batch. `from_noise` begins the first
    round at z_T = eps instead of the noised reference: the plain diffusion model that the paper compares with.
    """

    def __init__(self, model: Model, seed: int = 0, from_noise: bool = False):
        self.config = model.config
        self.space = model.space
        self.unet = model.unet
        self.schedule = model.schedule
        self.seed = seed
        self.from_noise = from_noise

    def __call__(
        self,
        masks: Sequence[np.ndarray],
        references: Sequence[np.ndarray],
        names: Sequence[str],
        on_step: Callable[[], None] | None = None,
    ) -> Batch:
        """masks: uint8 [h,w] of class ids, references: uint8 RGB [H,W,3], both at `config.data.size`; names seed the
        noise. `on_step` is called after every denoising step of the batch."""
        latent_size = self.config.latent_size
        segmap = jt.array(np.stack([one_hot(resize_mask(mask, latent_size)) for mask in masks]))
        x, starts = to_model(references), None
        with jt.no_grad():
            denoiser = self._denoiser(segmap)
            for number, spec in enumerate(self.config.inference.rounds):
                if number > 0 and self.config.inference.jpeg_between_rounds is not None:
                    x = self._through_files(to_images(x, np.floor))  # the released code cuts the decimals off
                if spec.color_transfer:
                    x = self._transfer_colors(x, references)
                z = self._start(x, spec, names, number)
                if starts is None:
                    starts = to_images(self.space.decode(z))
                z = self._denoise(denoiser.with_guidance(spec.guidance_scale), z, spec, names, number, on_step)
                x = self.space.decode(z)
                x.sync()
        return Batch(to_images(x), starts)

    def _transfer_colors(self, x: jt.Var, references: Sequence[np.ndarray]) -> jt.Var:
        space = self.config.inference.color_space
        pairs = zip(to_images(x), references)
        return self._through_files([color_transfer(image, reference, space) for image, reference in pairs])

    def _through_files(self, images: Sequence[np.ndarray]) -> jt.Var:
        """Images as what follows reads them: as they are, or from the JPEG files that the released code writes."""
        quality = self.config.inference.jpeg_between_rounds
        return to_model(images if quality is None else [jpeg_round_trip(image, quality) for image in images])

    @property
    def batch_size(self) -> int:
        """How many images a call should get."""
        return fitting_batch(self.config, self.unet)

    def _denoiser(self, segmap: jt.Var) -> Denoiser:
        """One for all rounds, with everything computed from the masks."""
        width, height = self.config.latent_size
        return Denoiser(self.unet, self.schedule, segmap, (height, width), clip_x0=self.config.inference.clip_x0)

    def _start(self, x: jt.Var, spec: Round, names: Sequence[str], number: int) -> jt.Var:
        """z_T = sqrt(abar_T) E(x) + sqrt(1 - abar_T) eps at the round's first timestep, or where the config says."""
        z0 = self.space.encode(x)
        eps = self._noise(z0.shape, names, number, "start")
        if self.from_noise and number == 0:
            return eps
        return self.schedule.add_noise(z0, eps, spec.noised_at)

    def _denoise(self, denoiser, z, spec: Round, names: Sequence[str], number: int, on_step) -> jt.Var:
        return SAMPLERS[spec.sampler](
            denoiser,
            z,
            self.schedule.timesteps(spec.start_timestep, spec.num_steps, spec.spacing),
            noise=lambda step: self._noise(z.shape, names, number, step),
            callback=None if on_step is None else lambda *_: on_step(),
        )

    def _noise(self, shape: Sequence[int], names: Sequence[str], number: int, step: int | str) -> jt.Var:
        shape = tuple(shape[1:])
        return jt.array(np.stack([normal(shape, self.seed, name, number, step) for name in names]))
