"""Samplers against what is known exactly for Gaussian data, where the perfect denoiser has a closed form."""

import math

import jittor as jt
import numpy as np
import pytest

from ldm_jittor.denoiser import Prediction
from ldm_jittor.samplers import SAMPLERS, sample_ddim, sample_ddpm, sample_dpmpp_2m, sample_unipc
from ldm_jittor.schedules import NoiseSchedule

SHAPE = (4, 3, 16, 16)
STD = 0.5


class GaussianDenoiser:
    """The perfect denoiser of data N(0, STD^2): z_t is Gaussian, so E[eps | z_t] is linear in z_t."""

    def __init__(self, schedule, variance_fraction=None):
        self.schedule = schedule
        self.variance_fraction = variance_fraction

    def __call__(self, z, timestep):
        abar = self.schedule.alpha_bar(timestep)
        total = abar * STD**2 + 1 - abar
        eps = z * (math.sqrt(1 - abar) / total)
        x0 = z * (math.sqrt(abar) * STD**2 / total)
        fraction = None if self.variance_fraction is None else jt.full(z.shape, self.variance_fraction)
        return Prediction(eps, x0, fraction)


class ZeroDenoiser(GaussianDenoiser):
    """An untrained network with a zero output layer."""

    def __call__(self, z, timestep):
        abar = self.schedule.alpha_bar(timestep)
        return Prediction(jt.zeros_like(z), z / max(math.sqrt(abar), 1e-30), None)


def draws(seed=0):
    return lambda i: jt.array(np.random.default_rng([seed, i]).standard_normal(SHAPE).astype(np.float32))


def start(seed=99):
    return draws(seed)(0)


def exact_flow(schedule, z, timestep):
    """The probability-flow ODE keeps z / std(z_t) constant for Gaussian data."""
    abar = schedule.alpha_bar(timestep)
    return z.numpy() * STD / math.sqrt(abar * STD**2 + 1 - abar)


@pytest.mark.parametrize("begin", [999, 600])
def test_ddim_converges_to_the_exact_flow(begin):
    schedule = NoiseSchedule.linear()
    z = start()
    errors = [
        np.abs(
            sample_ddim(GaussianDenoiser(schedule), z, schedule.timesteps(begin, n)).numpy()
            - exact_flow(schedule, z, begin)
        ).max()
        for n in (50, 200)
    ]
    assert errors[1] < 0.03 and errors[1] < errors[0] / 2.5  # first order


def test_dpmpp_2m_is_more_accurate_than_ddim_at_the_same_cost():
    schedule = NoiseSchedule.linear()
    z, timesteps = start(), NoiseSchedule.linear().timesteps(600, 20)
    exact = exact_flow(schedule, z, 600)
    error = {
        sampler: np.abs(sampler(GaussianDenoiser(schedule), z, timesteps).numpy() - exact).mean()
        for sampler in (sample_ddim, sample_dpmpp_2m)
    }
    assert error[sample_dpmpp_2m] < error[sample_ddim] / 2


@pytest.mark.parametrize("begin", [640, 400])
def test_spacing_even_in_log_snr_pays_in_few_steps_of_dpmpp_2m(begin):
    schedule, z = NoiseSchedule.linear(), start()
    exact = exact_flow(schedule, z, begin)

    def error(steps, spacing):
        timesteps = schedule.timesteps(begin, steps, spacing)
        return np.abs(sample_dpmpp_2m(GaussianDenoiser(schedule), z, timesteps).numpy() - exact).mean()

    assert error(10, "logsnr") < error(10, "trailing") / 2
    assert error(40, "logsnr") < error(10, "logsnr") / 10  # second order


@pytest.mark.parametrize(("sampler", "order"), [(sample_ddim, 1), (sample_dpmpp_2m, 2), (sample_unipc, 3)])
def test_order_of_convergence(sampler, order):
    """From an exact start to a timestep before the end, whose step is of first order; halving steps divides errors."""
    schedule, z, errors = NoiseSchedule.linear(20_000, 5e-6, 1e-3), start(), []
    for steps in (32, 64):
        snr = np.linspace(schedule.half_log_snr(12_000), schedule.half_log_snr(2_000), steps + 1)
        table = [-schedule.half_log_snr(t) for t in range(12_001)]
        timesteps = np.interp(-snr, table, np.arange(12_001)).round().astype(int).tolist()
        states = []
        sampler(GaussianDenoiser(schedule), z, timesteps, callback=lambda i, t, z, states=states: states.append(z))
        exact = exact_flow(schedule, z, 12_000) / exact_flow(schedule, jt.ones(1), 2_000)
        errors.append(np.abs(states[-2].numpy() - exact).max())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.4), errors


def test_the_corrector_of_unipc_takes_no_further_pass_of_the_network():
    schedule, calls = NoiseSchedule.linear(), []

    class Counting(GaussianDenoiser):
        def __call__(self, z, timestep):
            calls.append(timestep)
            return super().__call__(z, timestep)

    timesteps = schedule.timesteps(640, 12, "logsnr")
    sample_unipc(Counting(schedule), start(), timesteps)
    assert calls == timesteps


@pytest.mark.parametrize(("sampler", "options"), [(sample_ddpm, {}), (sample_ddim, {"eta": 1.0})])
def test_ancestral_samples_have_the_data_distribution(sampler, options):
    schedule = NoiseSchedule.linear()
    z = sampler(GaussianDenoiser(schedule), start(), schedule.timesteps(999, 250), noise=draws(), **options).numpy()
    assert z.std() == pytest.approx(STD, rel=0.05)
    assert abs(z.mean()) < 0.03


@pytest.mark.parametrize("name", SAMPLERS)
def test_paper_schedule_samples_the_data_from_timestep_319(name):
    """At the paper's own start abar is 7e-26, and the perfect denoiser must still lead to the data's spread."""
    schedule = NoiseSchedule.paper()
    z = SAMPLERS[name](GaussianDenoiser(schedule), start(), schedule.timesteps(319, 320), noise=draws()).numpy()
    assert np.isfinite(z).all()
    assert z.std() == pytest.approx(STD, rel=0.1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_stay_finite_from_beta_one(name):
    schedule = NoiseSchedule.paper()
    z = SAMPLERS[name](GaussianDenoiser(schedule), start(), schedule.timesteps(999, 1000), noise=draws()).numpy()
    assert np.isfinite(z).all() and np.abs(z).max() < 10


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_stay_finite_for_an_untrained_network_at_the_papers_start(name):
    schedule = NoiseSchedule.paper()
    z = SAMPLERS[name](ZeroDenoiser(schedule), start(), schedule.timesteps(319, 20), noise=draws()).numpy()
    assert np.isfinite(z).all()


def one_step_deviation(**options):
    schedule = NoiseSchedule.linear()
    denoiser = GaussianDenoiser(schedule, options.pop("fraction", None))
    with_noise, without = (
        sample_ddpm(denoiser, start(), [500, 499], noise=noise, **options).numpy()
        for noise in (draws(), lambda i: jt.zeros(SHAPE))
    )
    # the second step is deterministic and linear for a Gaussian: undo its factor
    abar = schedule.alpha_bar(499)
    total = abar * STD**2 + 1 - abar
    factor = (1 - (1 - abar) / total) / math.sqrt(abar)
    return ((with_noise - without) / factor / draws()(0).numpy()).mean()


def test_fixed_and_learned_variance():
    schedule = NoiseSchedule.linear()
    beta = schedule.betas[500]
    posterior = beta * (1 - schedule.alpha_bar(499)) / (1 - schedule.alpha_bar(500))
    assert one_step_deviation() == pytest.approx(math.sqrt(posterior), rel=1e-3)
    assert one_step_deviation(fraction=1.0) == pytest.approx(math.sqrt(beta), rel=1e-3)
    assert one_step_deviation(fraction=0.5) == pytest.approx((beta * posterior) ** 0.25, rel=1e-3)
    assert one_step_deviation(fraction=1.0, fixed_variance=True) == pytest.approx(math.sqrt(posterior), rel=1e-3)


def test_callback_sees_every_step():
    schedule, seen = NoiseSchedule.linear(), []
    sample_ddim(GaussianDenoiser(schedule), start(), [300, 100, 0], callback=lambda i, t, z: seen.append((i, t)))
    assert seen == [(0, 300), (1, 100), (2, 0)]


@pytest.mark.parametrize("timesteps", [[], [100, 200], [5, 5], [1000, 3], [3, -1]])
def test_bad_timesteps_are_refused(timesteps):
    with pytest.raises(ValueError, match="descend"):
        sample_ddim(GaussianDenoiser(NoiseSchedule.linear()), start(), timesteps)


def test_missing_noise_is_refused():
    with pytest.raises(ValueError, match="noise="):
        sample_ddpm(GaussianDenoiser(NoiseSchedule.linear()), start(), [10, 0])
