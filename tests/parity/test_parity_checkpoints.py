"""Files written by PyTorch and diffusers, read here: the same arrays to the bit, and networks of the same output."""

from __future__ import annotations

import json
from types import SimpleNamespace

import jittor as jt
import numpy as np
import pytest
from oracle import TINY_UNET, ask, assert_close, randomize

from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.model.build import build_autoencoder, build_unet
from jiidm.model.files import ModelFile, save_model
from ldm_jittor import checkpoint

# few channels, with the 32 groups that diffusers has at every width
SETTINGS = ["channels=32", "channel_mult=[1, 2, 2]", "norm_min_channels=1", "num_res_blocks=1", "latent_channels=4"]
DIFFUSERS = dict(
    block_out_channels=[32, 64, 64],
    layers_per_block=1,
    down_block_types=["DownEncoderBlock2D"] * 3,
    up_block_types=["UpDecoderBlock2D"] * 3,
    latent_channels=4,
)
# groups of 4 channels, as the smoke config has them
UNET = {**TINY_UNET, "in_channels": 4, "out_channels": 8, "num_head_channels": 32, "norm_min_channels": 4}


def config_of(kind: str) -> Config:
    return configs.load_config("smoke", [f"autoencoder.{setting}" for setting in [f"kind={kind}", *SETTINGS]])


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("checkpoints")
    rng = np.random.default_rng(3)
    config = config_of("kl")
    autoencoder, unet = build_autoencoder(config.autoencoder), build_unet(config)
    ours = randomize(autoencoder, 4)
    save_model(folder / "model.safetensors", config, ours, randomize(unet, 5), {})
    convert = ["convert", folder / "model.safetensors", folder / "exported.safetensors", "--only", "unet"]
    assert cli.main(list(map(str, convert))) == 0
    inputs = dict(
        x=rng.uniform(-1, 1, (2, 3, 48, 32)).astype(np.float32),
        z=rng.normal(size=(2, 4, 12, 8)).astype(np.float32),
        noisy=rng.normal(size=(2, 4, 12, 16)).astype(np.float32),
        timesteps=np.array([7, 613]),
        mask=np.eye(29, dtype=np.float32)[rng.integers(0, 29, (2, 12, 16))].transpose(0, 3, 1, 2).copy(),
    )
    answers = ask(
        "oracle_checkpoints.py",
        folder=str(folder),
        exported=str(folder / "exported.safetensors"),
        autoencoder=json.dumps(DIFFUSERS),
        vq=json.dumps(dict(num_vq_embeddings=64, vq_embed_dim=4)),
        unet=json.dumps(UNET),
        **inputs,
        **{f"ours/{name}": array for name, array in ours.items()},
    )
    return SimpleNamespace(folder=folder, answers=answers, unet=unet, **{n: jt.array(a) for n, a in inputs.items()})


@pytest.mark.parametrize("name", ["tensors.pt", "protocol4.pt", "legacy.pt", "lightning.ckpt", "lightning_legacy.ckpt"])
def test_tensors_are_equal_to_the_bit(case, name) -> None:
    expected = {key.removeprefix("tensors/"): a for key, a in case.answers.items() if key.startswith("tensors/")}
    arrays = checkpoint.load(case.folder / name).arrays
    assert arrays.keys() == expected.keys() and len(expected) > 20
    for key, array in expected.items():
        assert arrays[key].dtype == array.dtype and arrays[key].shape == array.shape, key
        np.testing.assert_array_equal(arrays[key], array, err_msg=key)


@pytest.mark.parametrize(
    "file, kind, answer",
    [
        ("kl", "kl", "kl"),
        ("kl_half", "kl", "kl_half"),
        ("vq", "vq", "vq"),
        ("vq_bin", "vq", "vq"),
        ("ldm.ckpt", "kl", "ldm"),
        ("kl.ckpt", "kl", "ldm"),
    ],
)
def test_autoencoders_of_every_format_give_the_same(case, file, kind, answer) -> None:
    model = ModelFile(case.folder / file).load_autoencoder(config_of(kind).autoencoder)
    assert_close(model.encode(case.x), case.answers[f"{answer}/encoded"], f"{file} encode")
    assert_close(model.decode(case.z), case.answers[f"{answer}/decoded"], f"{file} decode")


def test_a_unet_saved_by_pytorch_predicts_the_same(case) -> None:
    assert cli.main(["convert", f"{case.folder}/unet.pt", f"{case.folder}/unet.safetensors", *smoke_options()]) == 0
    unet = build_unet(config_of("kl"))
    checkpoint.load_into(unet, checkpoint.load(case.folder / "unet.safetensors").arrays, "unet.safetensors")
    unet.eval()
    assert_close(unet(case.noisy, case.timesteps, case.mask), case.answers["unet"], "U-Net of a .pt file")


def test_an_exported_unet_predicts_the_same_in_pytorch(case) -> None:
    case.unet.eval()
    ours = case.unet(case.noisy, case.timesteps, case.mask)
    assert_close(ours, case.answers["exported"], "exported U-Net, run by PyTorch")


def smoke_options() -> list[str]:
    return ["--config", "smoke", *(f for s in SETTINGS for f in ("--set", f"autoencoder.{s}"))]
