"""Run diffusers' schedulers over an analytic network: python oracle_samplers.py IN.npz OUT.npz.

In: `cases` (JSON: name -> sampler, settings, timesteps, guidance_scale, eta), the start `z` [B, C, H, W],
`noises` [steps, B, C, H, W]. Out: `samples/<case>`; `betas/<schedule>`; `noisy`, `z` noised at timestep 400.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from unittest import mock

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler


def network(z: torch.Tensor, timestep: int, guidance_scale: float, learn_variance: bool) -> torch.Tensor:
    """tanh(0.7 z + 2t/1000 + 0.5 mask) for a mask of ones, guided against none; variance cos(3z + mask)."""
    null = torch.tanh(0.7 * z + 2 * timestep / 1000)
    masked = torch.tanh(0.7 * z + 2 * timestep / 1000 + 0.5)
    eps = null + guidance_scale * (masked - null)
    return torch.cat([eps, torch.cos(3 * z + 1)], dim=1) if learn_variance else eps


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


SAMPLERS = {"ddpm": sample_ddpm, "ddim": sample_ddim, "dpmpp_2m": sample_dpmpp_2m}


def main(source: str, target: str) -> None:
    inputs = np.load(source)
    z, noises = torch.from_numpy(inputs["z"]), torch.from_numpy(inputs["noises"])
    outputs = {
        "betas/linear": DDPMScheduler(beta_schedule="linear").betas.numpy(),
        "betas/cosine": DDPMScheduler(beta_schedule="squaredcos_cap_v2").betas.numpy(),
        "noisy": DDPMScheduler().add_noise(z, noises[0], torch.full((len(z),), 400)).numpy(),
    }
    for name, case in json.loads(str(inputs["cases"])).items():
        learn_variance = case["settings"].get("variance_type") == "learned_range"

        def predict(z, timestep, scale=case["guidance_scale"], learn_variance=learn_variance):
            return network(z, timestep, scale, learn_variance)

        sample = SAMPLERS[case["sampler"]]
        result = sample(case["settings"], predict, z, case["timesteps"], noises, case.get("eta", 0.0))
        outputs[f"samples/{name}"] = result.numpy()
    np.savez(target, **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
