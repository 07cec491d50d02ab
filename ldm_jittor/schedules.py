"""Noise schedules: float64 tables of the forward process q(z_t | z_0) = N(sqrt(abar_t) z_0, (1 - abar_t) I).

Timesteps are 0-based training timesteps: table entry t belongs to the paper's step t + 1, so that the paper's T = 320
is timestep 319.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import jittor as jt
import numpy as np


@dataclass(frozen=True)
class NoiseSchedule:
    """`betas` in (0, 1], float64 [num_timesteps]; everything else follows from them.

    Cumulative products are kept as logarithms too, because the paper's schedule leaves float64's range: abar is
    e^-990 near its end, while the ratio of two of its entries, which is what sampling needs, stays moderate.
    Raises ValueError for betas outside (0, 1].
    """

    betas: np.ndarray
    alphas_cumprod: np.ndarray = field(init=False)
    log_alphas_cumprod: np.ndarray = field(init=False)

    def __post_init__(self):
        betas = np.asarray(self.betas, dtype=np.float64)
        if betas.ndim != 1 or not len(betas) or not ((betas > 0) & (betas <= 1)).all():
            raise ValueError(f"betas must be a list of numbers in (0, 1], got {self.betas!r}")
        with np.errstate(divide="ignore"):
            log_alphas_cumprod = np.cumsum(np.log1p(-betas))
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "log_alphas_cumprod", log_alphas_cumprod)
        object.__setattr__(self, "alphas_cumprod", np.exp(log_alphas_cumprod))

    @classmethod
    def paper(cls, num_timesteps: int = 1000, slope: float = 1e-3) -> NoiseSchedule:
        """beta_t = slope * t for t = 1 ... num_timesteps, as IIDM prints it."""
        return cls(slope * np.arange(1, num_timesteps + 1))

    @classmethod
    def linear(cls, num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 2e-2) -> NoiseSchedule:
        """Evenly spaced betas (Ho et al. 2020); the released code's schedule."""
        return cls(np.linspace(beta_start, beta_end, num_timesteps))

    @classmethod
    def cosine(cls, num_timesteps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
        """abar follows a squared cosine (Nichol & Dhariwal 2021, eq. 17)."""
        grid = np.arange(num_timesteps + 1) / num_timesteps
        alpha_bar = np.cos((grid + offset) / (1 + offset) * math.pi / 2) ** 2
        return cls(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], max_beta))

    @property
    def num_timesteps(self) -> int:
        return len(self.betas)

    def alpha_bar(self, timestep: int) -> float:
        """abar at a timestep; 1 at -1, where the chain ends."""
        return 1.0 if timestep < 0 else float(self.alphas_cumprod[timestep])

    def log_alpha_bar(self, timestep: int) -> float:
        """Natural logarithm of `alpha_bar`, -inf where beta was 1."""
        return 0.0 if timestep < 0 else float(self.log_alphas_cumprod[timestep])

    def alpha_ratio(self, timestep: int, previous: int) -> float:
        """abar_timestep / abar_previous for previous < timestep: the alpha of a step that spans the gap."""
        log_alpha = self.log_alpha_bar(timestep)
        return 0.0 if log_alpha == -math.inf else math.exp(log_alpha - self.log_alpha_bar(previous))

    def timesteps(self, start: int, num_steps: int) -> list[int]:
        """`num_steps` descending timesteps, evenly spaced from exactly `start`; the last step leads from
        about start / num_steps to the clean latent ("trailing" spacing, Lin et al. 2024).

        Raises ValueError when `start` is not a timestep of this schedule or there are not that many below it.
        """
        if not 0 <= start < self.num_timesteps:
            raise ValueError(f"start timestep {start} is outside 0 ... {self.num_timesteps - 1}")
        if not 1 <= num_steps <= start + 1:
            raise ValueError(f"{num_steps} steps do not fit between timesteps {start} and 0")
        return [round((start + 1) * (num_steps - i) / num_steps) - 1 for i in range(num_steps)]

    def add_noise(self, z0: jt.Var, eps: jt.Var, t: int | np.ndarray) -> jt.Var:
        """z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps, for one timestep or one per sample [B]."""
        alpha_bar = self.alphas_cumprod[np.asarray(t)]
        return per_sample(np.sqrt(alpha_bar)) * z0 + per_sample(np.sqrt(1 - alpha_bar)) * eps


def per_sample(values: np.ndarray) -> jt.Var:
    """One number, or one per sample [B], as a float32 Var that broadcasts over [B,C,H,W]."""
    return jt.array(np.asarray(values, dtype=np.float32).reshape(-1, 1, 1, 1))
