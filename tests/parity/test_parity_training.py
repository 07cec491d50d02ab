"""Diffusion loss, gradients of the U-Net, AdamW and EMA against PyTorch (oracle_training.py)."""

from __future__ import annotations

import json

import jittor as jt
import numpy as np
import pytest
from jittor import nn
from oracle import TINY_UNET, ask, assert_close, randomize, weights

from jiidm.train.optimizer import Optimizer
from ldm_jittor.ema import EMA
from ldm_jittor.losses import diffusion_loss
from ldm_jittor.schedules import NoiseSchedule
from ldm_jittor.unet import UNet

LR, WEIGHT_DECAY, DECAY = (
    0.01,
    0.1,
    0.15,
)  # the EMA's warm-up, 1/10 and 2/11, reaches its decay in the second step


@pytest.fixture(scope="module")
def case() -> dict:
    rng = np.random.default_rng(4)
    schedule = NoiseSchedule.linear()
    unet = UNet(**TINY_UNET)
    state = randomize(unet)
    timesteps = np.array([0, 1, 640])  # the density's term, the first divergence, and one inside
    z0, eps = rng.normal(size=(2, 3, 3, 8, 8)).astype(np.float32)
    z = schedule.add_noise(jt.array(z0), jt.array(eps), timesteps).numpy()
    mask = np.eye(29, dtype=np.float32)[rng.integers(0, 29, (3, 8, 8))].transpose(0, 3, 1, 2)
    arrays = dict(z0=z0, z=z, eps=eps, mask=np.ascontiguousarray(mask), timesteps=timesteps)
    arrays["parameter"] = rng.normal(size=20).astype(np.float32)
    arrays["gradients"] = rng.normal(size=(3, 20)).astype(np.float32)
    answers = ask(
        "oracle_training.py",
        config=json.dumps(TINY_UNET),
        betas=schedule.betas,
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        decay=DECAY,
        **arrays,
        **weights(state),
    )
    return dict(unet=unet, schedule=schedule, answers=answers, **arrays)


def test_loss_and_gradients_equal_those_of_pytorch(case: dict) -> None:
    z0, z, eps, mask = (jt.array(case[name]) for name in ("z0", "z", "eps", "mask"))
    output = case["unet"](z, jt.array(case["timesteps"]), mask)
    loss = diffusion_loss(output, z0, z, eps, case["timesteps"], case["schedule"])
    for name, ours in loss._asdict().items():
        assert_close(ours.numpy().reshape(()), case["answers"][name], f"diffusion loss, {name}")

    parameters = dict(case["unet"].named_parameters())
    gradients = dict(zip(parameters, jt.grad(loss.total, list(parameters.values()))))
    for name in (
        "input_blocks.0.0.weight",
        "middle_block.1.qkv.weight",
        "output_blocks.0.0.in_norm.mlp_gamma.weight",
    ):
        assert_close(gradients[name], case["answers"][f"gradients/{name}"], f"gradient of {name}")
    # together, because some are zero but for rounding: a bias in front of a normalisation of its channel, say
    ours = np.concatenate([gradients[name].numpy().ravel() for name in parameters])
    oracle = np.concatenate([case["answers"][f"gradients/{name}"].ravel() for name in parameters])
    assert_close(ours, oracle, f"gradients of all {len(parameters)} parameters")


class Vector(nn.Module):
    def __init__(self, values: np.ndarray):
        self.values = jt.array(values)


def test_adamw_and_ema_step_as_in_pytorch(case: dict) -> None:
    model = Vector(case["parameter"])
    optimizer = Optimizer(model, lambda _: LR, weight_decay=WEIGHT_DECAY)
    ema = EMA(model, DECAY)
    parameters, averages = [], []
    for step, gradient in enumerate(case["gradients"]):
        optimizer.backward((model.values * jt.array(gradient)).sum())
        optimizer.step(step)
        ema.update()
        parameters.append(model.values.numpy())
        averages.append(ema.state_dict()["values"])
    start = case["parameter"]  # what moved is compared, not the sum with where it started
    assert_close(np.stack(parameters) - start, case["answers"]["parameters"] - start, "AdamW, three steps")
    assert_close(np.stack(averages) - start, case["answers"]["averages"] - start, "EMA, three steps")
