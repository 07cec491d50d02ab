"""ldm_jittor.autoencoder against diffusers, our weights converted by ldm_jittor.convert."""

from __future__ import annotations

import json

import jittor as jt
import numpy as np
import pytest
from oracle import ask, assert_close, randomize, weights

from ldm_jittor.autoencoder import AutoencoderKL, VQModel
from ldm_jittor.formats.names import to_diffusers_kl, to_diffusers_vq

# the released VQ-f4
VQ = dict(ch=128, ch_mult=(1, 2, 4), num_res_blocks=2, in_channels=3, out_ch=3, z_channels=3)
# one channel a group in diffusers' 32 groups, which it has at every width unless told otherwise
KL = dict(ch=32, ch_mult=(1, 2, 2), num_res_blocks=1, in_channels=3, out_ch=3, z_channels=4)
MODELS = {
    "VQModel": (lambda: VQModel(VQ, n_embed=8192, embed_dim=3), to_diffusers_vq),
    "AutoencoderKL": (lambda: AutoencoderKL(KL, embed_dim=4), to_diffusers_kl),
    "AutoencoderKL of 16 groups": (lambda: AutoencoderKL(KL, embed_dim=4, norm_groups=16), to_diffusers_kl),
}
SMALL = dict(block_out_channels=[32, 64, 64], layers_per_block=1, latent_channels=4)
DIFFUSERS = {
    "VQModel": dict(
        block_out_channels=[128, 256, 512],
        layers_per_block=2,
        latent_channels=3,
        num_vq_embeddings=8192,
        vq_embed_dim=3,
    ),
    "AutoencoderKL": SMALL,
    "AutoencoderKL of 16 groups": {**SMALL, "norm_num_groups": 16},
}
BLOCKS = dict(down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3)


@pytest.fixture(scope="module", params=MODELS)
def case(request) -> dict:
    build, convert = MODELS[request.param]
    config = {**DIFFUSERS[request.param], **BLOCKS}
    rng = np.random.default_rng(2)
    model = build()
    model.eval()
    ours = randomize(model)
    state = convert(ours)
    x = rng.uniform(-1, 1, (2, 3, 48, 32)).astype(np.float32)
    z = rng.normal(size=(2, config["latent_channels"], 12, 8)).astype(np.float32)
    if request.param == "VQModel":  # so near to a code each that rounding cannot make it another's
        codes = ours["quantize.embedding.weight"][rng.integers(0, 8192, (2, 12, 8))].transpose(0, 3, 1, 2)
        z = codes + 1e-3 * z
    name = request.param.split()[0]
    answers = ask("oracle_autoencoder.py", model=name, config=json.dumps(config), x=x, z=z, **weights(state))
    return dict(name=request.param, model=model, x=jt.array(x), z=jt.array(z), answers=answers)


def test_autoencoder_encodes_as_diffusers_does(case: dict) -> None:
    encoded = case["answers"]["encoded"]
    channels = case["z"].shape[1]
    assert_close(case["model"].encode(case["x"]), encoded[:, :channels], f"{case['name']} encode", "diffusers")
    if case["name"].startswith("AutoencoderKL"):
        moments = jt.concat(case["model"].moments(case["x"]), dim=1)
        assert_close(moments, encoded, f"{case['name']} moments", "diffusers")


def test_autoencoder_decodes_as_diffusers_does(case: dict) -> None:
    assert_close(case["model"].decode(case["z"]), case["answers"]["decoded"], f"{case['name']} decode", "diffusers")
