"""From the network's output to what a sampler needs: hides guidance, learned variance and the mask."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import jittor as jt

from ldm_jittor.schedules import NoiseSchedule
from ldm_jittor.unet import UNet

MAX_RECIPROCAL = 1e30
"""Bound on 1/sqrt(abar). So x0 stays a number that float32 can hold where next to nothing of it is left."""


class Prediction(NamedTuple):
    eps: jt.Var
    """Predicted noise [B,C,H,W]."""
    x0: jt.Var
    """Predicted clean latent [B,C,H,W]; zero, the mean of latents, where abar is 0 and z holds nothing of it."""
    variance_fraction: jt.Var | None
    """Where the learned log-variance lies between its bounds: 0 at the lower (posterior), 1 at the upper (beta).

    [B,C,H,W], or None for a network that does not learn it. The bounds depend on the sampler's step.
    """


class Denoiser:
    """A U-Net under one batch of masks: `denoiser(z, timestep)` -> Prediction.

    What depends on the mask only is computed once, and serves every step of every round. It is kept in float32:
    `unet.modulation_elements` numbers for a mask.

    segmap: one-hot [B,num_classes,H,W].
    guidance_scale: classifier-free guidance (Ho & Salimans 2022), eps = eps_null + guidance_scale * (eps_mask -
    eps_null). The null mask is all zeros. At 1 the null branch is skipped.
    clip_x0: bound on |x0| in latent units, or None. With it eps follows from the clipped x0. So chains over vanishing
    abar do not amplify the network's error without limit.
    """

    def __init__(
        self,
        unet: UNet,
        schedule: NoiseSchedule,
        segmap: jt.Var,
        latent_size: tuple[int, int],
        *,
        guidance_scale: float = 1.0,
        clip_x0: float | None = None,
    ):
        self.unet = unet
        self.schedule = schedule
        self.guidance_scale = guidance_scale
        self.clip_x0 = clip_x0
        self.modulations = unet.modulations(segmap, latent_size, guided=True)

    def with_guidance(self, guidance_scale: float) -> Denoiser:
        """The same masks, and everything computed from them, under another guidance scale."""
        other = copy.copy(self)
        other.guidance_scale = guidance_scale
        return other

    @property
    def _guided(self) -> bool:
        return self.guidance_scale != 1.0

    def __call__(self, z: jt.Var, timestep: int) -> Prediction:
        """z [B,C,H,W] at a 0-based training timestep."""
        channels = z.shape[1]
        output = self._guide(z, timestep)
        eps, fraction = output[:, :channels], None
        if output.shape[1] == 2 * channels:
            fraction = (output[:, channels:] + 1) / 2
        alpha_bar = self.schedule.alpha_bar(timestep)
        noise_scale = math.sqrt(1 - alpha_bar)
        reciprocal = min(1 / math.sqrt(alpha_bar), MAX_RECIPROCAL) if alpha_bar > 0 else 0.0
        x0 = (z - noise_scale * eps) * reciprocal
        if self.clip_x0 is not None:
            x0 = x0.clamp(-self.clip_x0, self.clip_x0)
            eps = (z - math.sqrt(alpha_bar) * x0) / noise_scale
        return Prediction(eps, x0, fraction)

    def _guide(self, z: jt.Var, timestep: int) -> jt.Var:
        """Network output [B,out_channels,H,W]; the learned variance is the masked branch's own."""
        batch, channels = z.shape[:2]
        copies = 2 if self._guided else 1
        output = self.unet(jt.concat([z] * copies), jt.array([float(timestep)]), modulations=self.modulations)
        if not self._guided:
            return output
        masked, null = output[:batch], output[batch:]
        eps = null[:, :channels] + self.guidance_scale * (masked[:, :channels] - null[:, :channels])
        return jt.concat([eps, masked[:, channels:]], dim=1) if masked.shape[1] > channels else eps
