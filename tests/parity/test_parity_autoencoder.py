"""ldm_jittor.autoencoder against diffusers, our weights converted by ldm_jittor.convert."""

from __future__ import annotations

import json

import jittor as jt
import numpy as np
import pytest
from oracle import ask, assert_close, randomize, weights

from ldm_jittor.autoencoder import AutoencoderKL, VQModel
from ldm_jittor.convert import to_diffusers_kl, to_diffusers_vq

# 128 channels at least, because diffusers has one number of groups for all of them: 32
DDCONFIG = dict(ch=128, ch_mult=(1, 2, 2), num_res_blocks=1, in_channels=3, out_ch=3, z_channels=4)
DIFFUSERS = dict(
    block_out_channels=[128, 256, 256],
    layers_per_block=1,
    down_block_types=["DownEncoderBlock2D"] * 3,
    up_block_types=["UpDecoderBlock2D"] * 3,
    latent_channels=4,
)
CODES = dict(num_vq_embeddings=64, vq_embed_dim=4)
MODELS = {
    "VQModel": (lambda: VQModel(DDCONFIG, n_embed=64, embed_dim=4), to_diffusers_vq, {**DIFFUSERS, **CODES}),
    "AutoencoderKL": (lambda: AutoencoderKL(DDCONFIG, embed_dim=4), to_diffusers_kl, DIFFUSERS),
}


@pytest.fixture(scope="module", params=MODELS)
def case(request) -> dict:
    build, convert, config = MODELS[request.param]
    rng = np.random.default_rng(2)
    model = build()
    model.eval()
    state = convert(randomize(model))
    x = rng.uniform(-1, 1, (2, 3, 48, 32)).astype(np.float32)
    z = rng.normal(size=(2, 4, 12, 8)).astype(np.float32)
    answers = ask("oracle_autoencoder.py", model=request.param, config=json.dumps(config), x=x, z=z, **weights(state))
    return dict(name=request.param, model=model, x=jt.array(x), z=jt.array(z), answers=answers)


def test_encode(case: dict) -> None:
    encoded = case["answers"]["encoded"]
    assert_close(case["model"].encode(case["x"]), encoded[:, :4], f"{case['name']} encode")
    if case["name"] == "AutoencoderKL":
        moments = jt.concat(case["model"].moments(case["x"]), dim=1)
        assert_close(moments, encoded, f"{case['name']} moments")


def test_decode(case: dict) -> None:
    assert_close(case["model"].decode(case["z"]), case["answers"]["decoded"], f"{case['name']} decode")
