"""Samplers are plain functions with one signature: sample_x(denoiser, z, timesteps, *, noise, callback, ...).

`z` [B,C,H,W] is noised at exactly timesteps[0]. `timesteps` is the explicit descending list at which the network is
called. The last step leads to the clean latent, which is returned. `noise(i)` gives the standard normal draw [B,C,H,W]
of the i-th step, and `callback(i, timestep, z)` is called after each.

Steps are written in x0, whose factors vanish together with abar. In eps they would divide by sqrt(alpha), which
overflows on the paper's schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import jittor as jt

from ldm_jittor.denoiser import Denoiser
from ldm_jittor.schedules import NoiseSchedule

Noise = Callable[[int], jt.Var]
Callback = Callable[[int, int, jt.Var], None]


def _steps(denoiser: Denoiser, timesteps: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Give (i, timestep, previous) of every step; `previous` is -1 in the last.

    Raises ValueError for a list that is empty, does not descend or leaves the schedule.
    """
    timesteps = list(timesteps)
    total = denoiser.schedule.num_timesteps
    descending = all(a > b for a, b in zip(timesteps, timesteps[1:]))
    if not timesteps or not descending or not 0 <= timesteps[-1] <= timesteps[0] < total:
        raise ValueError(f"timesteps must descend within {total - 1} ... 0, got {timesteps}")
    yield from zip(range(len(timesteps)), timesteps, [*timesteps[1:], -1])


def _draw(noise: Noise | None, i: int, sampler: str) -> jt.Var:
    if noise is None:
        raise ValueError(f"{sampler} draws noise at every step: pass noise=")
    return noise(i)


def _kept(x: jt.Var) -> jt.Var:
    """x, computed now: Jittor is lazy, so the graph of the whole chain would pile up before anything ran."""
    x = x.detach()
    x.sync()
    return x


def _finish_step(z: jt.Var, i: int, timestep: int, callback: Callback | None) -> jt.Var:
    z = _kept(z)
    if callback is not None:
        callback(i, timestep, z)
    return z


def _solve(schedule: NoiseSchedule, z: jt.Var, timestep: int, previous: int, x0: jt.Var) -> jt.Var:
    """The probability-flow ODE from `timestep` to `previous`, exact where the clean latent is x0 all the way."""
    h = schedule.half_log_snr(previous) - schedule.half_log_snr(timestep)
    sigma2, sigma2_previous = 1 - schedule.alpha_bar(timestep), 1 - schedule.alpha_bar(previous)
    return math.sqrt(sigma2_previous / sigma2) * z - math.sqrt(schedule.alpha_bar(previous)) * math.expm1(-h) * x0


def _extrapolated(x0: jt.Var, last_x0: jt.Var | None, h: float, last_h: float) -> jt.Var:
    """The clean latent in the middle of a step of h in half log-SNR, from the last two predictions.

    It is the last one alone in a chain's first step, and in the one that ends at zero noise.
    """
    return x0 if last_x0 is None or h == math.inf else x0 + h / (2 * last_h) * (x0 - last_x0)


def _interpolated(x0: jt.Var, last_x0: jt.Var, older_x0: jt.Var | None, h: float, last_h: float) -> jt.Var:
    """The clean latent of a step of h in half log-SNR, from predictions at its end, its start, and last_h before that.

    The last one is None for a chain's first step.
    """
    if older_x0 is None:
        return last_x0 + 0.5 * (x0 - last_x0)
    inverse = 1 / math.expm1(-h)
    first = -1 / h - inverse
    second = -2 * first / h - inverse
    ratio = -last_h / h
    share = (first - second) / (1 - ratio)
    return last_x0 + share / ratio * (older_x0 - last_x0) + (first - share) * (x0 - last_x0)


def sample_ddpm(
    denoiser: Denoiser,
    z: jt.Var,
    timesteps: Sequence[int],
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    fixed_variance: bool = False,
) -> jt.Var:
    """Ancestral sampling: IIDM's eq. 5 with its misprint mended, also on a subset of the timesteps.

    The variance is the network's own where it learns one (Nichol & Dhariwal 2021, eq. 15). Otherwise, and with
    `fixed_variance`, it is the posterior's.
    """
    schedule = denoiser.schedule
    for i, timestep, previous in _steps(denoiser, timesteps):
        prediction = denoiser(z, timestep)
        alpha = schedule.alpha_ratio(timestep, previous)
        beta = 1 - alpha
        sigma2 = 1 - schedule.alpha_bar(timestep)
        alpha_bar_previous = schedule.alpha_bar(previous)
        z = (
            math.sqrt(alpha_bar_previous) * beta / sigma2 * prediction.x0
            + math.sqrt(alpha) * (1 - alpha_bar_previous) / sigma2 * z
        )  # mean of q(z_prev | z_t, x0)
        if previous >= 0:
            posterior = math.log(beta * (1 - alpha_bar_previous) / sigma2)
            if prediction.variance_fraction is None or fixed_variance:
                deviation = math.exp(0.5 * posterior)
            else:
                fraction = prediction.variance_fraction
                deviation = (0.5 * (fraction * math.log(beta) + (1 - fraction) * posterior)).exp()
            z = z + deviation * _draw(noise, i, "ddpm")
        z = _finish_step(z, i, timestep, callback)
    return z


def sample_ddim(
    denoiser: Denoiser,
    z: jt.Var,
    timesteps: Sequence[int],
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    eta: float = 0.0,
) -> jt.Var:
    """DDIM (Song et al. 2021, eq. 12): deterministic at eta = 0, as noisy as DDPM at eta = 1.

    Raises ValueError for eta outside [0, 1]."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be between 0 and 1, got {eta}")
    schedule = denoiser.schedule
    for i, timestep, previous in _steps(denoiser, timesteps):
        prediction = denoiser(z, timestep)
        alpha = schedule.alpha_ratio(timestep, previous)
        sigma2, sigma2_previous = 1 - schedule.alpha_bar(timestep), 1 - schedule.alpha_bar(previous)
        variance = eta**2 * (1 - alpha) * sigma2_previous / sigma2
        z = (
            math.sqrt(schedule.alpha_bar(previous)) * prediction.x0
            + math.sqrt(sigma2_previous - variance) * prediction.eps
        )
        if variance > 0:
            z = z + math.sqrt(variance) * _draw(noise, i, "ddim with eta > 0")
        z = _finish_step(z, i, timestep, callback)
    return z


def sample_dpmpp_2m(
    denoiser: Denoiser,
    z: jt.Var,
    timesteps: Sequence[int],
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> jt.Var:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): deterministic, second order. It draws no `noise`.

    The first step is of first order, and so is the last, which ends at zero noise.
    """
    schedule = denoiser.schedule
    last_x0, last_h = None, 0.0
    for i, timestep, previous in _steps(denoiser, timesteps):
        x0 = denoiser(z, timestep).x0
        h = schedule.half_log_snr(previous) - schedule.half_log_snr(timestep)
        z = _solve(schedule, z, timestep, previous, _extrapolated(x0, last_x0, h, last_h))
        last_x0, last_h = x0, h
        z = _finish_step(z, i, timestep, callback)
    return z


def sample_unipc(
    denoiser: Denoiser,
    z: jt.Var,
    timesteps: Sequence[int],
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
) -> jt.Var:
    """UniPC-2 in x0 with B2(h) = e^h - 1 (Zhao et al. 2023, arXiv:2302.04867): deterministic, third order.

    The predictor's step is that of `sample_dpmpp_2m`. The corrector takes it once more, with the prediction at its end
    too. The next step needs that prediction anyway, so there is no further network pass. It draws no `noise`.
    """
    schedule = denoiser.schedule
    start, last, last_x0, older_x0 = z, -1, None, None
    h = last_h = 0.0
    for i, timestep, previous in _steps(denoiser, timesteps):
        x0 = _kept(denoiser(z, timestep).x0)
        if last_x0 is not None:
            z = _solve(schedule, start, last, timestep, _interpolated(x0, last_x0, older_x0, h, last_h))
        start, last = _kept(z), timestep
        last_h, h = h, schedule.half_log_snr(previous) - schedule.half_log_snr(timestep)
        z = _solve(schedule, start, timestep, previous, _extrapolated(x0, last_x0, h, last_h))
        last_x0, older_x0 = x0, last_x0
        z = _finish_step(z, i, timestep, callback)
    return z


SAMPLERS = {"ddpm": sample_ddpm, "ddim": sample_ddim, "dpmpp_2m": sample_dpmpp_2m, "unipc": sample_unipc}
