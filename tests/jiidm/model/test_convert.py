"""`jiidm convert`: files of others to files of this kit and back; and files that are taken as they are."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import jittor as jt
import numpy as np
import pytest
import torch_files
from safetensors.numpy import save_file

from jiidm.cli import main as cli
from jiidm.config import load as config
from jiidm.model import files as model
from jiidm.train import run
from ldm_jittor import checkpoint
from ldm_jittor.formats.names import to_diffusers_vq


@pytest.fixture
def states(smoke_model) -> dict[str, dict[str, np.ndarray]]:
    arrays = checkpoint.load(smoke_model).arrays
    return {kind: checkpoint.under_prefix(kind, arrays) for kind in ("autoencoder", "unet")}


@pytest.fixture
def released(states, tmp_path) -> dict[str, Path]:
    """The two networks as the winners published them: one by Jittor, one a plain pickle."""
    paths = {kind: tmp_path / f"{kind}.pkl" for kind in states}
    jt.save({name: jt.array(array) for name, array in states["unet"].items()}, str(paths["unet"]))
    paths["autoencoder"].write_bytes(pickle.dumps(states["autoencoder"]))
    return paths


def convert(*arguments) -> int:
    return cli.main(["convert", *map(str, arguments)])


def assert_same(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)


def test_two_released_files_become_a_model_that_paints_the_same(released, smoke_model, smoke, inputs, tmp_path, capsys):
    target = tmp_path / "new" / "model.safetensors"
    assert convert(released["unet"], released["autoencoder"], target, "--config", "smoke") == 0
    told = capsys.readouterr().out
    assert f"unet.pkl: U-Net, {len(checkpoint.load(released['unet']).arrays)} arrays, names of SDM" in told
    assert "autoencoder.pkl: autoencoder" in told and "names of latent-diffusion" in told
    assert_same(checkpoint.load(target).arrays, checkpoint.load(smoke_model).arrays)
    assert model.stored_config(target) == smoke
    assert checkpoint.load_metadata(target)["provenance"] == {
        "converted_from": {
            kind: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for kind, path in released.items()
        }
    }
    for path, out in ((smoke_model, tmp_path / "a"), (target, tmp_path / "b")):
        assert cli.main(inputs.command(out, path)) == 0
    for name in ("m0.jpg", "m1.jpg", "m2.jpg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_network_alone_keeps_the_released_names(released, states, smoke_model, smoke, tmp_path):
    for number, (kind, sources) in enumerate(
        [("unet", [released["unet"]]), ("unet", [smoke_model, "--only", "unet"]), ("autoencoder", [smoke_model])]
    ):
        target = tmp_path / f"{number}.safetensors"
        more = ["--only", kind] if kind == "autoencoder" else []
        assert convert(*sources[:1], target, *sources[1:], *more, "--config", "smoke") == 0
        assert_same(checkpoint.load(target).arrays, states[kind])
        assert model.stored_config(target) == smoke


def test_the_config_is_the_sources_own_else_the_released_one(smoke_model, released, tmp_path, smoke, capsys):
    assert convert(smoke_model, tmp_path / "a.safetensors", "--only", "unet", "--set", "seed=5") == 0
    assert model.stored_config(tmp_path / "a.safetensors") == config.override(smoke, ["seed=5"])
    assert convert(released["unet"], tmp_path / "b.safetensors") == 2
    assert "time_embed.0.weight is 128x32, not 1024x256" in capsys.readouterr().err


def test_latent_diffusion_and_diffusers_autoencoders(states, smoke, tmp_path, capsys):
    state = states["autoencoder"]
    nothing = np.zeros(1, np.float32)
    beside = {"loss.logvar": nothing, "loss.discriminator.main.0.weight": nothing, "model_ema.decay": nothing}
    torch_files.save(tmp_path / "vq.ckpt", {**state, **beside}, epoch=3, callbacks={"best": [1, None]})
    folder = tmp_path / "vqvae"
    folder.mkdir()
    save_file(to_diffusers_vq(state), folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text('{"_class_name": "VQModel", "norm_num_groups": 32}')
    for source, layout in ((tmp_path / "vq.ckpt", "latent-diffusion"), (folder, "diffusers")):
        target = tmp_path / f"{layout}.safetensors"
        assert convert(source, target, "--config", "smoke") == 0
        assert_same(checkpoint.load(target).arrays, state)
        told = capsys.readouterr().out
        assert f"names of {layout}" in told
        assert ("left out loss (2), model_ema (1)" in told) == (source != folder)


def test_a_source_says_how_many_groups_its_group_norms_have(states, smoke, smoke_model, tmp_path, capsys):
    folder, target = tmp_path / "vqvae", tmp_path / "a.safetensors"
    folder.mkdir()
    save_file(to_diffusers_vq(states["autoencoder"]), folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text('{"norm_num_groups": 16}')
    assert convert(folder, smoke_model, target, "--only", "autoencoder") == 2  # an autoencoder in both
    assert convert(folder, target, "--config", "smoke") == 0
    autoencoder = model.stored_config(target).autoencoder
    assert (autoencoder.norm_groups, autoencoder.norm_min_channels) == (16, 1)
    told = ["--config", "smoke", "--set", "autoencoder.norm_groups=8"]
    assert convert(folder, tmp_path / "b.safetensors", *told) == 0
    assert model.stored_config(tmp_path / "b.safetensors").autoencoder.norm_groups == 8
    # with a config whose networks have other groups, a file of this kit keeps its own
    other = ["--set", "unet.norm_min_channels=1", "--set", "unet.norm_groups=2"]
    assert convert(smoke_model, tmp_path / "c.safetensors", "--only", "unet", *other) == 0
    assert convert(tmp_path / "c.safetensors", tmp_path / "d.safetensors", "--config", "smoke") == 0
    unet = model.stored_config(tmp_path / "d.safetensors").unet
    assert (unet.norm_groups, unet.norm_min_channels) == (2, 1)
    assert "4 channels a group" not in capsys.readouterr().out


def test_a_unet_that_predicts_v_goes_with_its_autoencoder_only(smoke_model, released, tmp_path, capsys):
    given = ["--set", "unet.prediction=v"]
    assert convert(released["unet"], tmp_path / "a.safetensors", "--config", "smoke", *given) == 2
    assert "unet.pkl: a U-Net that predicts v" in capsys.readouterr().err
    assert not (tmp_path / "a.safetensors").exists()
    assert (
        convert(released["unet"], released["autoencoder"], tmp_path / "b.safetensors", "--config", "smoke", *given) == 0
    )
    # the file says so where the config does not
    assert convert(tmp_path / "b.safetensors", tmp_path / "c.safetensors", "--config", "smoke") == 0
    assert model.stored_config(tmp_path / "c.safetensors").unet.prediction == "v"


def test_what_is_left_out_is_told(states, tmp_path, capsys):
    arrays = {**checkpoint.with_prefix("first_stage_model", states["autoencoder"]), "betas": np.zeros(9, np.float32)}
    torch_files.save(tmp_path / "ldm.ckpt", {**arrays, "cond_stage_model.a": np.zeros(2, np.float32)}, epoch=3)
    assert convert(tmp_path / "ldm.ckpt", tmp_path / "a.safetensors", "--config", "smoke") == 0
    assert "ldm.ckpt: left out betas (1), cond_stage_model (1)" in capsys.readouterr().out


def test_every_misfit_is_listed_and_nothing_written(states, tmp_path, capsys):
    state = dict(states["unet"])
    for number in range(6):
        state[f"extra.{number}"] = np.zeros(1, np.float32)
    gone = list(state)[:7]
    for name in gone:
        del state[name]
    shaped = next(name for name in state if name.endswith(".weight"))
    state[shaped] = state[shaped][..., None]
    (tmp_path / "unet.pkl").write_bytes(
        pickle.dumps({**state, "middle_block.0.in_norm.mlp_shared.0.weight": np.ones(1)})
    )
    assert convert(tmp_path / "unet.pkl", tmp_path / "a.safetensors", "--config", "smoke") == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("error: ") for line in lines) and len(lines) == 6 + 7 + 2 + 1
    for name, fault in [
        *((n, "missing") for n in gone),
        *((f"extra.{i}", "surplus") for i in range(6)),
        (shaped, "x1, not"),
    ]:
        assert any(f"unet.pkl (unet): {name} is " in line and fault in line for line in lines), name
    assert "a.safetensors: not written, 15 names" in lines[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["unet.pkl"]


def test_what_is_refused(released, smoke_model, tmp_path, refusal):
    unet, target = released["unet"], tmp_path / "a.safetensors"
    (tmp_path / "text.pkl").write_text("weights")
    (tmp_path / "arrays.pkl").write_bytes(pickle.dumps({"w": np.ones(2)}))
    (tmp_path / "there.safetensors").write_text("mine")
    (tmp_path / "diffusers.pkl").write_bytes(
        pickle.dumps({"encoder.conv_in.weight": np.ones(1), "encoder.mid_block.odd.weight": np.ones(1)})
    )
    for arguments, parts in (
        ([unet, unet, target], ["a second U-Net", "unet.pkl"]),
        ([unet, smoke_model, target], ["a second U-Net", "model.safetensors"]),
        ([unet, tmp_path / "b.pkl"], ["b.pkl", ".safetensors"]),
        ([unet, tmp_path / "there.safetensors"], ["there.safetensors", "exists"]),
        ([unet, target, "--only", "autoencoder"], ["unet.pkl", "no autoencoder"]),
        ([tmp_path / "absent.pkl", target], ["absent.pkl", "no such"]),
        ([tmp_path / "text.pkl", target], ["text.pkl", "not a readable checkpoint"]),
        ([tmp_path / "arrays.pkl", target], ["arrays.pkl", "neither an autoencoder nor a SPADE U-Net"]),
        ([tmp_path / "diffusers.pkl", target], ["diffusers.pkl", "encoder.mid_block.odd.weight"]),
        ([tmp_path, target], [str(tmp_path), "diffusion_pytorch_model"]),
        ([tmp_path / "absent.pkl", target, "--config", "unknown"], ["unknown"]),  # before sources are read
        ([unet, "/dev/null/a.safetensors", "--config", "smoke"], ["/dev/null/a.safetensors", "cannot be written"]),
    ):
        line = refusal(["convert", *arguments])
        assert all(part in line for part in parts), line
    assert not target.exists() and (tmp_path / "there.safetensors").read_text() == "mine"


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("command", ["convert", "infer", "train"])
def test_a_hostile_file_is_refused_by_every_command(command, landscapes, inputs, tmp_path, refusal):
    path, mark = tmp_path / "trap.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"encoder.conv_in.weight": np.ones(2), "b": Trap(mark)}))
    arguments = {
        "convert": ["convert", path, tmp_path / "a.safetensors"],
        "infer": inputs.command(tmp_path / "out", path, "--config", "smoke"),
        "train": ["train", landscapes, "--config", "smoke", "--run", tmp_path / "run", "--autoencoder", path],
    }[command]
    line = refusal(arguments)
    assert "trap.pkl" in line and "posix.mkdir" in line
    assert not mark.exists() and not (tmp_path / "a.safetensors").exists()


def test_infer_says_what_a_lone_unet_needs(released, inputs, tmp_path, refusal):
    assert "jiidm convert" in refusal(inputs.command(tmp_path / "out", released["unet"]))
    line = refusal(inputs.command(tmp_path / "out", released["unet"], "--config", "smoke"))
    assert "unet.pkl (autoencoder) is missing" in line and "jiidm convert" in line


@pytest.mark.slow
def test_a_run_takes_a_diffusers_folder_as_its_autoencoder(states, smoke, landscapes, tmp_path):
    folder = tmp_path / "vqvae"
    folder.mkdir()
    save_file(to_diffusers_vq(states["autoencoder"]), folder / "diffusion_pytorch_model.fp16.safetensors")
    short = config.override(smoke, ["diffusion_training.max_steps=1"])
    trained = checkpoint.load(run.train(short, landscapes, tmp_path / "run", folder)).arrays
    assert_same(checkpoint.under_prefix("autoencoder", trained), states["autoencoder"])
