"""Run diffusers' schedulers over an analytic network: python oracle_samplers.py IN.npz OUT.npz.

In: `cases` (JSON: name -> sampler, settings, timesteps, guidance_scale, guidance_rescale, eta), the start
`z` [B, C, H, W], `noises` [steps, B, C, H, W]; `steps` (JSON: name -> settings, timestep, previous).
Out: `samples/<case>`; `mean/<step>` and `variance/<step>` of one DDPM step; `betas/<schedule>`; `noisy`, `z` noised at
timestep 400.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from unittest import mock

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg


def network(
    z: torch.Tensor, timestep: int, guidance_scale: float, guidance_rescale: float, learn_variance: bool
) -> torch.Tensor:
    """tanh(0.7 z + 2t/1000 + 0.5 mask) for a mask of ones, guided against none; variance cos(3z + mask)."""
    null = torch.tanh(0.7 * z + 2 * timestep / 1000)
    masked = torch.tanh(0.7 * z + 2 * timestep / 1000 + 0.5)
    eps = null + guidance_scale * (masked - null)
    if guidance_rescale:
        eps = rescale_noise_cfg(eps, masked, guidance_rescale)
    return torch.cat([eps, torch.cos(3 * z + 1)], dim=1) if learn_variance else eps


def predictor(settings: dict, guidance_scale: float = 1.0, guidance_rescale: float = 0.0):
    learn_variance = settings.get("variance_type") == "learned_range"
    return lambda z, timestep: network(z, timestep, guidance_scale, guidance_rescale, learn_variance)


def sample_ddpm(settings: dict, predict, z: torch.Tensor, timesteps: list[int], noises, eta: float):
    scheduler = DDPMScheduler(**settings)
    scheduler.set_timesteps(timesteps=timesteps)
    for timestep, noise in zip(timesteps, noises):
        draw = "diffusers.schedulers.scheduling_ddpm.randn_tensor"
        with mock.patch(draw, lambda *_, noise=noise, **__: noise):
            z = scheduler.step(predict(z, timestep), timestep, z).prev_sample
    return z


def sample_ddim(settings: dict, predict, z: torch.Tensor, timesteps: list[int], noises, eta: float):
    scheduler = DDIMScheduler(**settings)
    for timestep, previous, noise in zip(timesteps, [*timesteps[1:], -1], noises):
        # it steps from t to t - 1000 // num_inference_steps: a fraction makes that any gap
        scheduler.num_inference_steps = Fraction(1000, timestep - previous)
        z = scheduler.step(
            predict(z, timestep), timestep, z, eta, use_clipped_model_output=True, variance_noise=noise
        ).prev_sample
    return z


def sample_dpmpp_2m(settings: dict, predict, z: torch.Tensor, timesteps: list[int], noises, eta: float):
    scheduler = DPMSolverMultistepScheduler(**settings)
    scheduler.set_timesteps(timesteps=timesteps)
    for timestep in scheduler.timesteps:
        z = scheduler.step(predict(z, int(timestep)), timestep, z).prev_sample
    return z


def sample_unipc(settings: dict, predict, z: torch.Tensor, timesteps: list[int], noises, eta: float):
    scheduler = UniPCMultistepScheduler(**settings)
    scheduler.set_timesteps(len(timesteps))
    # it takes no list of timesteps; its weights are differences that float32 would lose in short steps
    alpha_bar = scheduler.alphas_cumprod.double()[timesteps]
    scheduler.timesteps = torch.tensor(timesteps)
    scheduler.sigmas = torch.cat([((1 - alpha_bar) / alpha_bar).sqrt(), torch.zeros(1)])
    for timestep in scheduler.timesteps:
        z = scheduler.step(predict(z, int(timestep)), timestep, z).prev_sample
    return z


def ddpm_step(settings: dict, predict, z: torch.Tensor, timestep: int, previous: int):
    """Mean and variance of the step's normal distribution, from its draws with noise 0 and 1."""
    drawn = [
        sample_ddpm(settings, predict, z, [timestep, previous], [torch.full_like(z, noise)], 0.0) for noise in (0, 1)
    ]
    return drawn[0], (drawn[1] - drawn[0]) ** 2


SAMPLERS = {"ddpm": sample_ddpm, "ddim": sample_ddim, "dpmpp_2m": sample_dpmpp_2m, "unipc": sample_unipc}


def main(source: str, target: str) -> None:
    inputs = np.load(source)
    z, noises = torch.from_numpy(inputs["z"]), torch.from_numpy(inputs["noises"])
    outputs = {
        "betas/linear": DDPMScheduler(beta_schedule="linear").betas.numpy(),
        "betas/cosine": DDPMScheduler(beta_schedule="squaredcos_cap_v2").betas.numpy(),
        "noisy": DDPMScheduler().add_noise(z, noises[0], torch.full((len(z),), 400)).numpy(),
    }
    for name, case in json.loads(str(inputs["cases"])).items():
        predict = predictor(case["settings"], case["guidance_scale"], case["guidance_rescale"])
        sample = SAMPLERS[case["sampler"]]
        result = sample(case["settings"], predict, z, case["timesteps"], noises, case.get("eta", 0.0))
        outputs[f"samples/{name}"] = result.numpy()
    for name, (settings, timestep, previous) in json.loads(str(inputs["steps"])).items():
        mean, variance = ddpm_step(settings, predictor(settings), z, timestep, previous)
        outputs.update({f"mean/{name}": mean.numpy(), f"variance/{name}": variance.numpy()})
    np.savez(target, **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
