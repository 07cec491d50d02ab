"""Schedules against closed forms."""

import math

import jittor as jt
import numpy as np
import pytest

from ldm_jittor.schedules import NoiseSchedule


def log_falling_factorial(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(n - k + 1)


@pytest.mark.parametrize("step", [1, 20, 320, 999])
def test_paper_abar_is_a_falling_factorial(step):
    """With beta_t = t / 1000, abar_t = 999! / (999 - t)! / 1000^t."""
    schedule = NoiseSchedule.paper()
    expected = log_falling_factorial(999, step) - step * math.log(1000)
    assert schedule.log_alpha_bar(step - 1) == pytest.approx(expected, rel=1e-10, abs=1e-9)


def test_paper_start_keeps_nothing_of_the_reference():
    schedule = NoiseSchedule.paper()
    assert math.sqrt(schedule.alpha_bar(319)) == pytest.approx(2.6e-13, rel=0.02)
    assert schedule.betas[0] == pytest.approx(0.001) and schedule.betas[-1] == 1.0
    assert schedule.alphas_cumprod[-1] == 0.0 and np.isfinite(schedule.alphas_cumprod).all()


@pytest.mark.parametrize("steps, slope", [(600, 0.00166666666667), (1500, 0.000666666666667)])
def test_a_paper_slope_in_decimals_ends_at_one(steps, slope):
    assert NoiseSchedule.paper(steps, slope).betas[-1] == 1.0
    with pytest.raises(ValueError, match="betas"):
        NoiseSchedule.paper(steps, 1.001 * slope)


def test_linear_equals_the_released_starts():
    """facts of the released code: sqrt(abar) 0.160, 0.124 and 0.440 at timesteps 600, 640 and 400."""
    schedule = NoiseSchedule.linear()
    np.testing.assert_allclose(np.sqrt(schedule.alphas_cumprod[[600, 640, 400]]), [0.160, 0.124, 0.440], atol=6e-4)
    np.testing.assert_allclose(schedule.alphas_cumprod, np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000)), rtol=1e-12)


def test_cosine_follows_the_squared_cosine():
    schedule = NoiseSchedule.cosine(100)
    t = np.arange(1, 95)
    f = np.cos((t / 100 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alphas_cumprod[t - 1], f, rtol=1e-9)
    assert schedule.betas.max() == 0.999


def test_alpha_ratio_is_finite_where_abar_vanishes():
    schedule = NoiseSchedule.paper()
    assert schedule.alpha_bar(990) == 0.0
    assert schedule.alpha_ratio(990, 989) == pytest.approx(1 - 0.991)
    assert schedule.alpha_ratio(999, 998) == 0.0
    assert schedule.alpha_ratio(319, -1) == pytest.approx(schedule.alpha_bar(319))


def test_timesteps_start_exactly_and_leave_one_gap_to_the_end():
    schedule = NoiseSchedule.linear()
    for start, count in ((319, 320), (600, 20), (999, 7), (5, 6), (640, 320)):
        timesteps = schedule.timesteps(start, count)
        assert timesteps[0] == start and len(timesteps) == count
        gaps = -np.diff([*timesteps, -1])  # the clean latent is where timestep -1 would be
        assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1
    assert schedule.timesteps(319, 320) == list(range(319, -1, -1))
    assert schedule.timesteps(400, 1) == [400]


def test_linspace_timesteps_go_from_start_to_zero_in_even_gaps():
    schedule = NoiseSchedule.linear()
    for start, count in ((598, 300), (999, 7), (5, 6), (333, 50)):
        timesteps = schedule.timesteps(start, count, "linspace")
        assert (timesteps[0], timesteps[-1], len(timesteps)) == (start, 0, count)
        gaps = -np.diff(timesteps)
        assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1
    assert schedule.timesteps(400, 1, "linspace") == [400]
    with pytest.raises(ValueError, match="quadratic"):
        schedule.timesteps(400, 20, "quadratic")


@pytest.mark.parametrize("every, start", [(2, 300), (2, 320), (20, 20), (1, 320)])
def test_linspace_timesteps_are_those_of_a_respaced_chain(every, start):
    chain = range(0, 1000, every)
    below = [chain[i] for i in range(start)][::-1]
    assert NoiseSchedule.linear().timesteps(below[0], start, "linspace") == below


@pytest.mark.parametrize(
    "schedule, start, count",
    [
        (NoiseSchedule.linear(), 640, 10),
        (NoiseSchedule.linear(), 400, 15),
        (NoiseSchedule.linear(), 999, 50),
        (NoiseSchedule.paper(), 319, 20),
        (NoiseSchedule.cosine(), 500, 1),
    ],
)
def test_logsnr_timesteps_fall_evenly_in_log_snr(schedule, start, count):
    def log_snr(timestep):
        signal = math.exp(math.fsum(math.log1p(-beta) for beta in schedule.betas[: timestep + 1]))
        return math.log(signal / (1 - signal))

    timesteps = schedule.timesteps(start, count, "logsnr")
    assert (timesteps[0], len(timesteps)) == (start, count)
    assert all(a > b for a, b in zip(timesteps, timesteps[1:]))
    gap = (log_snr(0) - log_snr(start)) / count
    for i, timestep in enumerate(timesteps):
        if timestep > count:  # below it there is not a timestep for every knot
            lower, upper = log_snr(min(timestep + 1, start)), log_snr(timestep - 1)
            assert lower - 1e-9 <= log_snr(start) + i * gap <= upper + 1e-9


@pytest.mark.parametrize("start, count", [(640, 641), (640, 320), (5, 6), (0, 1)])
def test_logsnr_timesteps_are_distinct_where_knots_crowd(start, count):
    timesteps = NoiseSchedule.linear().timesteps(start, count, "logsnr")
    assert timesteps[0] == start and timesteps[-1] == 0
    assert len(set(timesteps)) == count and timesteps == sorted(timesteps, reverse=True)


def test_logsnr_spacing_needs_a_start_that_has_one():
    with pytest.raises(ValueError, match="999"):
        NoiseSchedule.paper().timesteps(999, 20, "logsnr")


@pytest.mark.parametrize(("start", "count"), [(1000, 10), (-1, 1), (10, 12), (10, 0)])
def test_impossible_timesteps_are_refused(start, count):
    with pytest.raises(ValueError, match=str(start)):
        NoiseSchedule.linear().timesteps(start, count)


@pytest.mark.parametrize("betas", [[0.1, 1.2], [0.0, 0.5], [], [[0.1]], [math.nan]])
def test_betas_outside_their_range_are_refused(betas):
    with pytest.raises(ValueError, match="betas"):
        NoiseSchedule(np.array(betas))


def test_add_noise_per_sample():
    schedule = NoiseSchedule.linear()
    rng = np.random.default_rng(0)
    z0, eps = rng.standard_normal((2, 3, 3, 4, 5)).astype(np.float32)
    t = np.array([0, 500, 999])
    got = schedule.add_noise(jt.array(z0), jt.array(eps), t).numpy()
    for i, timestep in enumerate(t):
        abar = np.prod(1 - np.linspace(1e-4, 2e-2, 1000)[: timestep + 1])
        np.testing.assert_allclose(got[i], math.sqrt(abar) * z0[i] + math.sqrt(1 - abar) * eps[i], rtol=1e-5, atol=1e-6)
    same = schedule.add_noise(jt.array(z0), jt.array(eps), 500).numpy()
    np.testing.assert_allclose(same[1], got[1], rtol=1e-6)
