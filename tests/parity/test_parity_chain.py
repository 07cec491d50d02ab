"""A whole chain, as a round runs it: U-Net, guidance and DDIM from the middle, against PyTorch and diffusers."""

from __future__ import annotations

import json

import jittor as jt
import numpy as np
import pytest
from oracle import TINY_UNET, ask, assert_close, randomize, weights

from ldm_jittor.denoiser import Denoiser
from ldm_jittor.samplers import sample_ddim
from ldm_jittor.schedules import NoiseSchedule
from ldm_jittor.unet import UNet

GUIDANCE = 3.7


@pytest.mark.parametrize("start, spacing", [(599, "trailing"), (380, "linspace")])
def test_twenty_guided_ddim_steps_end_where_pytorch_and_diffusers_end(start: int, spacing: str) -> None:
    rng = np.random.default_rng(5)
    unet, schedule = UNet(**TINY_UNET), NoiseSchedule.linear()
    unet.eval()
    state = randomize(unet)
    z = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    mask = np.eye(29, dtype=np.float32)[rng.integers(0, 29, (2, 8, 8))].transpose(0, 3, 1, 2).copy()
    timesteps = schedule.timesteps(start, 20, spacing)
    answers = ask(
        "oracle_chain.py",
        config=json.dumps(TINY_UNET),
        z=z,
        mask=mask,
        timesteps=timesteps,
        guidance_scale=GUIDANCE,
        **weights(state),
    )
    with jt.no_grad():
        denoiser = Denoiser(unet, schedule, jt.array(mask), (8, 8), guidance_scale=GUIDANCE)
        ours = sample_ddim(denoiser, jt.array(z), timesteps)
    assert np.abs(answers["sample"] - z).max() > 1
    quantity = f"20 guided ddim steps of the U-Net from timestep {start}"
    assert_close(ours, answers["sample"], quantity, "PyTorch, diffusers")
