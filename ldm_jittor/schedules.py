"""Noise schedules: float64 tables of the forward process q(z_t | z_0) = N(sqrt(abar_t) z_0, (1 - abar_t) I).

Timesteps are 0-based training timesteps: table entry t belongs to the paper's step t + 1. So the paper's T = 320 is
timestep 319.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import jittor as jt
import numpy as np


@dataclass(frozen=True)
class NoiseSchedule:
    """`betas` in (0, 1], float64 [num_timesteps]; everything else follows from them.

    Cumulative products are kept as logarithms too, because the paper's schedule leaves float64's range: abar is e^-990
    near its end. Sampling needs the ratio of two entries only, which stays moderate.
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
        betas = slope * np.arange(1, num_timesteps + 1)
        return cls(np.where((betas > 1) & (betas < 1 + 2e-9), 1, betas))  # 1/600 in decimals may be too much

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

    def half_log_snr(self, timestep: int) -> float:
        """log(sqrt(abar) / sqrt(1 - abar)), half the logarithm of the signal-to-noise ratio; inf at -1."""
        if timestep < 0:
            return math.inf
        return 0.5 * (self.log_alpha_bar(timestep) - math.log1p(-self.alpha_bar(timestep)))

    def snr(self, t: np.ndarray) -> np.ndarray:
        """Signal-to-noise ratio abar / (1 - abar) at timesteps [B]; float64, above 0 unless abar leaves its range."""
        alpha_bar = self.alphas_cumprod[t]
        return alpha_bar / (1 - alpha_bar)

    def alpha_ratio(self, timestep: int, previous: int) -> float:
        """abar_timestep / abar_previous for previous < timestep: the alpha of a step that spans the gap."""
        log_alpha = self.log_alpha_bar(timestep)
        return 0.0 if log_alpha == -math.inf else math.exp(log_alpha - self.log_alpha_bar(previous))

    def timesteps(self, start: int, num_steps: int, spacing: str = "trailing") -> list[int]:
        """`num_steps` descending timesteps from exactly `start`.

        "trailing" spaces evenly; the last step leads from about start / num_steps to the clean latent. "linspace"
        spaces evenly down to exactly timestep 0, as a chain respaced to every k-th timestep does at and below an entry
        of it. Both names are by Lin et al. 2024. "logsnr" spaces evenly in `half_log_snr`, as DPM-Solver does (Lu et
        al. 2022). It is dense near the end, and more exact in few steps of a second-order sampler.

        Raises ValueError where `start` is not a timestep of this schedule, where fewer timesteps than `num_steps` lie
        at and below it, for another spacing, and for "logsnr" where abar is 0 at `start`.
        """
        if not 0 <= start < self.num_timesteps:
            raise ValueError(f"start timestep {start} is outside 0 ... {self.num_timesteps - 1}")
        if not 1 <= num_steps <= start + 1:
            raise ValueError(f"{num_steps} steps do not fit between timesteps {start} and 0")
        if spacing == "trailing":
            return [round((start + 1) * (num_steps - i) / num_steps) - 1 for i in range(num_steps)]
        if spacing == "linspace":
            return np.linspace(start, 0, num_steps).round().astype(int).tolist()
        if spacing == "logsnr":
            return self._even_in_log_snr(start, num_steps)
        raise ValueError(f"spacing must be trailing, linspace or logsnr, not {spacing!r}")

    def _even_in_log_snr(self, start: int, num_steps: int) -> list[int]:
        table = np.array([self.half_log_snr(t) for t in range(start + 1)])
        if table[start] == -math.inf:
            raise ValueError(f"logsnr spacing cannot start at timestep {start}, where abar is 0")
        # of num_steps + 1 knots down to timestep 0 the last is left out: the step before it leads to the clean latent
        knots = np.linspace(table[start], table[0], num_steps + 1)[:-1]
        nearest = np.interp(-knots, -table, np.arange(start + 1)).round().astype(int)
        i = np.arange(num_steps)
        descending = np.minimum.accumulate(nearest + i) - i  # near 0 several knots share their nearest timestep
        return np.maximum(descending, i[::-1]).tolist()

    def add_noise(self, z0: jt.Var, eps: jt.Var, t: int | np.ndarray) -> jt.Var:
        """z_t = sqrt(abar_t) z_0 + sqrt(1 - abar_t) eps, for one timestep or one per sample [B]."""
        alpha_bar = self.alphas_cumprod[np.asarray(t)]
        return per_sample(np.sqrt(alpha_bar)) * z0 + per_sample(np.sqrt(1 - alpha_bar)) * eps

    def velocity(self, z0: jt.Var, eps: jt.Var, t: int | np.ndarray) -> jt.Var:
        """v_t = sqrt(abar_t) eps - sqrt(1 - abar_t) z_0 (Salimans & Ho 2022, arXiv:2202.00512, section 4)."""
        alpha_bar = self.alphas_cumprod[np.asarray(t)]
        return per_sample(np.sqrt(alpha_bar)) * eps - per_sample(np.sqrt(1 - alpha_bar)) * z0

    def eps_of_velocity(self, v: jt.Var, z: jt.Var, t: int | np.ndarray) -> jt.Var:
        """The noise in z = add_noise(z_0, eps, t) by its `velocity`: sqrt(abar_t) v + sqrt(1 - abar_t) z."""
        alpha_bar = self.alphas_cumprod[np.asarray(t)]
        return per_sample(np.sqrt(alpha_bar)) * v + per_sample(np.sqrt(1 - alpha_bar)) * z


def per_sample(values: np.ndarray) -> jt.Var:
    """One number, or one per sample [B], as a float32 Var that broadcasts over [B,C,H,W]."""
    return jt.array(np.asarray(values, dtype=np.float32).reshape(-1, 1, 1, 1))
