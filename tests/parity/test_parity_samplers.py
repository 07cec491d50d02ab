"""ldm_jittor.schedules, denoiser and samplers against diffusers' schedulers, over an analytic network."""

from __future__ import annotations

import json

import jittor as jt
import numpy as np
import pytest
from oracle import ask, assert_close

from ldm_jittor.denoiser import Denoiser
from ldm_jittor.samplers import SAMPLERS, sample_ddpm
from ldm_jittor.schedules import NoiseSchedule

UNEVEN = [599, 500, 333, 200, 101, 40, 7, 0]  # starts inside the chain
CONSECUTIVE = list(range(319, -1, -1))  # the paper's T = 320
SCHEDULES = {"linear": NoiseSchedule.linear(), "paper": NoiseSchedule.paper()}
DIFFUSERS = {
    "linear": dict(beta_schedule="linear"),
    "paper": dict(trained_betas=[0.001 * t for t in range(1, 1001)]),
}


def case(
    sampler: str,
    timesteps: list[int],
    guidance: float = 1.0,
    schedule: str = "linear",
    clip=None,
    ratio=None,
    rescale=0.0,
    **ours,
):
    """ratio: of dynamic thresholding, for which diffusers' range is always 1. ours: arguments of our sampler."""
    settings = dict(clip=clip, ratio=ratio, rescale=rescale)
    return dict(sampler=sampler, timesteps=timesteps, guidance=guidance, schedule=schedule, **settings, ours=ours)


CASES = {
    "ddpm, fixed variance": case("ddpm", UNEVEN, fixed_variance=True),
    "ddpm, learned variance": case("ddpm", UNEVEN),
    "ddpm, learned variance, guided": case("ddpm", UNEVEN, guidance=3.5),
    "ddpm, every timestep": case("ddpm", CONSECUTIVE),
    "ddpm, x0 clipped": case("ddpm", UNEVEN, clip=1.5),
    "ddpm, paper's schedule, x0 clipped": case("ddpm", CONSECUTIVE, schedule="paper", clip=1.5),
    "ddim": case("ddim", UNEVEN),
    "ddim, guided": case("ddim", UNEVEN, guidance=3.5),
    "ddim, guided, the released third round": case("ddim", list(range(380, -1, -20)), guidance=3.7),
    "ddim, eta 0.5": case("ddim", UNEVEN, eta=0.5),
    "ddim, eta 1, x0 clipped": case("ddim", UNEVEN, clip=1.5, eta=1.0),
    "ddim, paper's schedule, x0 clipped": case("ddim", CONSECUTIVE, schedule="paper", clip=1.5),
    "ddim, guided and rescaled": case("ddim", UNEVEN, guidance=3.5, rescale=0.7),
    "ddim, guided, x0 bounded dynamically": case("ddim", UNEVEN, guidance=3.5, clip=1.0, ratio=0.9),
    "ddpm, x0 bounded dynamically": case("ddpm", UNEVEN, clip=1.0, ratio=0.995, fixed_variance=True),
    "dpmpp_2m, x0 bounded dynamically": case("dpmpp_2m", UNEVEN, clip=1.0, ratio=0.9),
    "dpmpp_2m": case("dpmpp_2m", UNEVEN),
    "dpmpp_2m, guided": case("dpmpp_2m", UNEVEN, guidance=3.5),
    "dpmpp_2m, 20 steps": case("dpmpp_2m", SCHEDULES["linear"].timesteps(639, 20)),
    "unipc": case("unipc", UNEVEN),
    "unipc, guided": case("unipc", UNEVEN, guidance=3.5),
    "unipc, x0 bounded dynamically": case("unipc", UNEVEN, clip=1.0, ratio=0.9),
    "unipc, 10 steps, even in log-SNR": case("unipc", SCHEDULES["linear"].timesteps(640, 10, "logsnr")),
    "unipc, every timestep": case("unipc", CONSECUTIVE),
    "unipc, one step": case("unipc", [600]),
    "unipc, two steps": case("unipc", [600, 200]),
}


STEPS = {
    f"{kind} variance, {timestep} -> {previous}": (kind, timestep, previous)
    for kind in ("fixed", "learned")
    for timestep, previous in ((640, 639), (599, 500), (200, 101))
}


class AnalyticNetwork:
    """The network of oracle_samplers.py in place of a U-Net: what it needs of the mask is the mask."""

    prediction = "eps"

    def modulations(self, segmap: jt.Var, size: tuple[int, int], guided: bool = False) -> jt.Var:
        return jt.concat([segmap, jt.zeros_like(segmap)]) if guided else segmap

    def __call__(self, z: jt.Var, timesteps: jt.Var, *, modulations: jt.Var) -> jt.Var:
        mask = modulations[: len(z)]
        eps = jt.tanh(0.7 * z + 2 * timesteps.reshape((-1, 1, 1, 1)) / 1000 + 0.5 * mask)
        return jt.concat([eps, jt.cos(3 * z + mask)], dim=1)


def settings_of(case: dict) -> dict:
    """A case as diffusers' scheduler spells it."""
    settings = dict(DIFFUSERS[case["schedule"]])
    if case["ratio"] is not None:
        settings.update(thresholding=True, dynamic_thresholding_ratio=case["ratio"], sample_max_value=1e9)
    elif case["sampler"] in ("ddpm", "ddim"):
        settings.update(clip_sample=case["clip"] is not None, clip_sample_range=case["clip"] or 1.0)
    if case["sampler"] == "ddpm":
        fixed = case["ours"].get("fixed_variance")
        settings["variance_type"] = "fixed_small" if fixed else "learned_range"
    return settings


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    z = rng.normal(size=(2, 3, 6, 5)).astype(np.float32)
    noises = rng.normal(size=(len(CONSECUTIVE), *z.shape)).astype(np.float32)
    cases = {
        name: dict(
            sampler=case["sampler"],
            settings=settings_of(case),
            timesteps=case["timesteps"],
            guidance_scale=case["guidance"],
            guidance_rescale=case["rescale"],
            eta=case["ours"].get("eta", 0.0),
        )
        for name, case in CASES.items()
    }
    variances = {"fixed": "fixed_small", "learned": "learned_range"}
    steps = {
        name: (dict(beta_schedule="linear", clip_sample=False, variance_type=variances[kind]), *timesteps)
        for name, (kind, *timesteps) in STEPS.items()
    }
    inputs = dict(z=z, noises=noises, cases=json.dumps(cases), steps=json.dumps(steps))
    return {**inputs, **ask("oracle_samplers.py", **inputs)}


def analytic_denoiser(schedule: str = "linear", **options) -> Denoiser:
    return Denoiser(AnalyticNetwork(), SCHEDULES[schedule], jt.ones((2, 1, 1, 1)), (6, 5), **options)


def sample(case: dict, arrays: dict) -> jt.Var:
    denoiser = analytic_denoiser(
        case["schedule"],
        guidance_scale=case["guidance"],
        guidance_rescale=case["rescale"],
        clip_x0=case["clip"],
        dynamic_thresholding_ratio=case["ratio"],
    )
    return SAMPLERS[case["sampler"]](
        denoiser,
        jt.array(arrays["z"]),
        case["timesteps"],
        noise=lambda i: jt.array(arrays["noises"][i]),
        **case["ours"],
    )


@pytest.mark.parametrize("name", CASES)
def test_sampler_ends_where_diffusers_ends(arrays: dict, name: str) -> None:
    assert_close(sample(CASES[name], arrays), arrays[f"samples/{name}"], f"chain: {name}", "diffusers")


@pytest.mark.parametrize("name", STEPS)
def test_ddpm_step_has_the_mean_and_variance_of_diffusers(arrays: dict, name: str) -> None:
    kind, *timesteps = STEPS[name]
    drawn = []
    for noise in (jt.zeros, jt.ones):
        states: list[jt.Var] = []
        sample_ddpm(
            analytic_denoiser(),
            jt.array(arrays["z"]),
            timesteps,
            noise=lambda i, noise=noise: noise(arrays["z"].shape),
            callback=lambda i, timestep, z, states=states: states.append(z),
            fixed_variance=kind == "fixed",
        )
        drawn.append(states[0].numpy())
    assert_close(drawn[0], arrays[f"mean/{name}"], f"ddpm step's mean, {name}", "diffusers")
    assert_close((drawn[1] - drawn[0]) ** 2, arrays[f"variance/{name}"], f"ddpm step's variance, {name}", "diffusers")


@pytest.mark.parametrize("clip", [None, 1.5])
@pytest.mark.parametrize("num_steps", [5, 50])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampler_stays_finite_from_beta_1(arrays: dict, sampler: str, num_steps: int, clip) -> None:
    """Where the paper's schedule ends, abar is 0 and below float32's range before; diffusers has no answer here."""
    timesteps = SCHEDULES["paper"].timesteps(999, num_steps)
    ours = sample(case(sampler, timesteps, schedule="paper", clip=clip), arrays)
    not_finite = int((~np.isfinite(ours.numpy())).sum())
    assert not_finite == 0


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_betas_equal_those_of_diffusers(arrays: dict, name: str) -> None:
    ratio = getattr(NoiseSchedule, name)().betas / arrays[f"betas/{name}"]  # each for itself: they span decades
    assert_close(ratio, np.ones(1000), f"betas, {name}", "diffusers")


def test_add_noise_equals_that_of_diffusers(arrays: dict) -> None:
    z, eps = jt.array(arrays["z"]), jt.array(arrays["noises"][0])
    schedule, noisy = SCHEDULES["linear"], arrays["noisy"]
    assert_close(schedule.add_noise(z, eps, 400), noisy, "add_noise", "diffusers")
    assert_close(schedule.add_noise(z, eps, np.array([400, 400])), noisy, "add_noise, a batch", "diffusers")
