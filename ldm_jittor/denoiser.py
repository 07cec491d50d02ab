"""From the network's output to what a sampler needs: hides guidance, learned variance and the mask."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import jittor as jt

from ldm_jittor.schedules import NoiseSchedule
from ldm_jittor.unet import UNet

MAX_RECIPROCAL = 1e30
"""Bound on 1/sqrt(abar). So x0 stays a number that float32 can hold where next to nothing of it is left."""


class Prediction(NamedTuple):
    eps: jt.Var
    """Predicted noise [B,C,H,W]."""
    x0: jt.Var
    """Predicted clean latent [B,C,H,W].

    Where abar is 0, z holds nothing of it. There it is zero, the mean of latents, for a network that predicts eps.
    """
    variance_fraction: jt.Var | None
    """Where the learned log-variance lies between its bounds: 0 at the lower (posterior), 1 at the upper (beta).

    [B,C,H,W], or None for a network that does not learn it. The bounds depend on the sampler's step.
    """


class Settings(NamedTuple):
    """What a round decides about predictions."""

    guidance_scale: float = 1.0
    """Classifier-free guidance (Ho & Salimans 2022): eps = eps_null + guidance_scale * (eps_mask - eps_null).

    The null mask is all zeros. At 1 the null branch is skipped. Guided velocities are the same thing.
    """
    guidance_rescale: float = 0.0
    """See `rescale_guided`; 0 leaves guided noise as it is."""
    clip_x0: float | None = None
    """Bound on |x0| in latent units, or None. With it eps follows from the bounded x0. So chains over vanishing abar do
    not amplify the network's error without limit.
    """
    dynamic_thresholding_ratio: float | None = None
    """How `threshold` finds the bound of each sample; None clips all of them at clip_x0."""
    guidance_interval: tuple[int, int] | None = None
    """First and last 0-based training timestep that is guided (Kynkaanniemi et al. 2024, arXiv:2404.07724).

    At the others the null branch is skipped, as at guidance_scale 1. None guides all.
    """

    def branches(self, timestep: int) -> int:
        """How many passes of the network a prediction takes: 2 where it is guided, masked and null, else 1."""
        low, high = self.guidance_interval or (timestep, timestep)
        return 2 if self.guidance_scale != 1.0 and low <= timestep <= high else 1


def rescale_guided(guided: jt.Var, masked: jt.Var, rescale: float) -> jt.Var:
    """Give guided noise [B,C,H,W] the standard deviation of the masked branch's, in the share `rescale` (0 to 1).

    Guidance widens each sample's noise, which drives images into saturation (Lin et al. 2023, arXiv:2305.08891, eq. 15
    and 16; diffusers' rescale_noise_cfg).
    """
    ratio = _deviation(masked) / jt.maximum(_deviation(guided), 1e-12)
    return guided * (1 + rescale * (ratio - 1))


def _deviation(x: jt.Var) -> jt.Var:
    """Each sample's standard deviation, [B,1,1,1]."""
    centred = x - x.mean(dims=[1, 2, 3], keepdims=True)
    return jt.sqrt((centred * centred).mean(dims=[1, 2, 3], keepdims=True))


def threshold(x0: jt.Var, bound: float, ratio: float | None = None) -> jt.Var:
    """Predicted clean latents [B,C,H,W] within +-`bound`.

    They are clipped there. With a `ratio` a sample of which fewer values than that share are within the bound is
    clipped at this quantile of |x0| instead, and then shrunk to the bound: dynamic thresholding (Saharia et al. 2022,
    arXiv:2205.11487, section 2.3), for a range of `bound` where pixels have 1.
    """
    if ratio is None:
        return x0.clamp(-bound, bound)
    size = jt.maximum(_quantile(x0.abs().reshape((x0.shape[0], -1)), ratio), bound).reshape((-1, 1, 1, 1))
    return jt.minimum(jt.maximum(x0, -size), size) * (bound / size)


def _quantile(rows: jt.Var, share: float) -> jt.Var:
    """The quantile of each of rows [B,N], linear between neighbours, [B]."""
    _, ordered = jt.argsort(rows, dim=1)
    place = share * (rows.shape[1] - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[:, low] + (place - low) * (ordered[:, high] - ordered[:, low])


class Denoiser:
    """A U-Net under one batch of masks: `denoiser(z, timestep)` -> Prediction.

    What depends on the mask only is computed once, and serves every step of every round. It is kept in float32:
    `unet.modulation_elements` numbers for a mask.

    segmap: one-hot [B,num_classes,H,W]. settings: fields of `Settings`.
    """

    def __init__(
        self,
        unet: UNet,
        schedule: NoiseSchedule,
        segmap: jt.Var,
        latent_size: tuple[int, int],
        **settings: Any,
    ):
        self.unet = unet
        self.schedule = schedule
        self.settings = Settings(**settings)
        self.modulations = unet.modulations(segmap, latent_size, guided=True)

    def with_settings(self, **changes: Any) -> Denoiser:
        """The same masks, and everything computed from them, under other `Settings`."""
        other = copy.copy(self)
        other.settings = self.settings._replace(**changes)
        return other

    def __call__(self, z: jt.Var, timestep: int) -> Prediction:
        """z [B,C,H,W] at a 0-based training timestep."""
        channels = z.shape[1]
        output = self._guide(z, timestep)
        predicted, fraction = output[:, :channels], None
        if output.shape[1] == 2 * channels:
            fraction = (output[:, channels:] + 1) / 2
        alpha_bar = self.schedule.alpha_bar(timestep)
        noise_scale = math.sqrt(1 - alpha_bar)
        if self.unet.prediction == "v":
            eps = self.schedule.eps_of_velocity(predicted, z, timestep)
            x0 = math.sqrt(alpha_bar) * z - noise_scale * predicted
        else:
            eps = predicted
            reciprocal = min(1 / math.sqrt(alpha_bar), MAX_RECIPROCAL) if alpha_bar > 0 else 0.0
            x0 = (z - noise_scale * eps) * reciprocal
        if self.settings.clip_x0 is not None:
            x0 = threshold(x0, self.settings.clip_x0, self.settings.dynamic_thresholding_ratio)
            eps = (z - math.sqrt(alpha_bar) * x0) / noise_scale
        return Prediction(eps, x0, fraction)

    def _guide(self, z: jt.Var, timestep: int) -> jt.Var:
        """Network output [B,out_channels,H,W]; the learned variance is the masked branch's own."""
        batch, channels = z.shape[:2]
        branches = self.settings.branches(timestep)
        output = self.unet(jt.concat([z] * branches), jt.array([float(timestep)]), modulations=self.modulations)
        if branches == 1:
            return output
        masked, null = output[:batch], output[batch:]
        eps = null[:, :channels] + self.settings.guidance_scale * (masked[:, :channels] - null[:, :channels])
        if self.settings.guidance_rescale:
            eps = rescale_guided(eps, masked[:, :channels], self.settings.guidance_rescale)
        return jt.concat([eps, masked[:, channels:]], dim=1) if masked.shape[1] > channels else eps
