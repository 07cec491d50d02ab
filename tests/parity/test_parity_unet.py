"""ldm_jittor.unet against a plain PyTorch network of the same layout (torch_unet.py)."""

from __future__ import annotations

import json

import jittor as jt
import numpy as np
import pytest
from oracle import TINY_UNET, ask, assert_close, randomize, weights

from ldm_jittor import ops
from ldm_jittor.unet import UNet

TINY = {**TINY_UNET, "num_res_blocks": 2}
RELEASED = dict(
    in_channels=3,
    model_channels=256,
    out_channels=6,
    num_res_blocks=2,
    attention_downsamples=[4, 8, 16],
    channel_mult=[1, 1, 2, 3, 4],
    num_classes=29,
    num_head_channels=64,
)
MASKS = {"null": 16, "latent": 16, "image": 64}  # mask: its side; latents are 16x16


def one_hot(side: int, rng: np.random.Generator) -> np.ndarray:
    labels = rng.integers(0, 29, (2, side, side))
    return np.eye(29, dtype=np.float32)[labels].transpose(0, 3, 1, 2)  # [2, 29, side, side]


GROUPS = {"32 groups": {}, "groups of 4 channels": {"norm_min_channels": 4}, "2 groups": {"norm_groups": 2}}


@pytest.fixture(scope="module", params=GROUPS)
def case(request) -> dict:
    rng = np.random.default_rng(1)
    config = {**TINY, **GROUPS[request.param]}
    unet = UNet(**config)
    unet.eval()
    state = randomize(unet)
    masks = {name: one_hot(side, rng) * (name != "null") for name, side in MASKS.items()}
    x = rng.normal(size=(2, 3, 16, 16)).astype(np.float32)
    timesteps = np.array([7, 613])
    answers = ask(
        "oracle_unet.py",
        config=json.dumps(config),
        large_config=json.dumps(RELEASED),
        x=x,
        timesteps=timesteps,
        **weights(state),
        **{f"masks/{name}": mask.astype(np.float32) for name, mask in masks.items()},
    )
    return dict(
        name=request.param, unet=unet, masks=masks, x=jt.array(x), timesteps=jt.array(timesteps), answers=answers
    )


@pytest.mark.parametrize("mask", MASKS)
def test_unet_predicts_what_pytorch_predicts(case: dict, mask: str) -> None:
    ours = case["unet"](case["x"], case["timesteps"], jt.array(case["masks"][mask]).float32())
    assert_close(ours, case["answers"][f"predictions/{mask}"], f"U-Net, {case['name']}, {mask} mask")


def test_unet_with_kept_modulations_and_chunked_attention_predicts_the_same(case: dict, monkeypatch) -> None:
    monkeypatch.setattr(ops, "ATTENTION_CHUNK", 24)  # of 64 tokens: two whole chunks and a rest
    modulations = case["unet"].modulations(jt.array(case["masks"]["latent"]).float32(), (16, 16))
    ours = case["unet"](case["x"], case["timesteps"], modulations=modulations)
    assert_close(ours, case["answers"]["predictions/latent"], "U-Net, modulations kept, attention in chunks")


def test_released_configuration_has_the_same_names_and_shapes(case: dict) -> None:
    ours = {name: list(parameter.shape) for name, parameter in UNet(**RELEASED).named_parameters()}
    assert ours == json.loads(str(case["answers"]["shapes"]))
    assert sum(int(np.prod(shape)) for shape in ours.values()) == 501_540_358
