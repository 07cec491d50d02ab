from __future__ import annotations

import builtins
import hashlib
import json
import os
import pickle
from pathlib import Path

import jittor as jt
import numpy as np
import pytest
import torch_files
from safetensors import safe_open
from safetensors.numpy import save_file

from jiidm.config import load as configs
from jiidm.errors import InputError
from jiidm.model import files as model
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError
from ldm_jittor.formats.names import to_diffusers_vq


def parts_of(path):
    arrays = checkpoint.load(path).arrays
    return checkpoint.under_prefix("autoencoder", arrays), checkpoint.under_prefix("unet", arrays)


def test_a_loaded_model_has_the_files_weights_and_config(smoke_model, smoke):
    loaded = model.load_model(smoke_model)
    assert loaded.config == smoke == model.stored_config(smoke_model)
    assert loaded.provenance == {"made": "for tests"}
    assert loaded.schedule.num_timesteps == 1000
    with safe_open(smoke_model, framework="numpy") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for prefix, module in (("autoencoder", loaded.space.autoencoder), ("unet", loaded.unet)):
        for name, value in module.named_parameters():
            np.testing.assert_array_equal(value.numpy(), stored.pop(f"{prefix}.{name}"))
    assert not stored


def test_the_latent_scale_comes_from_the_config(smoke_model, smoke):
    scaled = configs.override(smoke, ["autoencoder.latent_scale=0.25"])
    assert model.load_model(smoke_model, scaled).space.scale == 0.25


def test_what_only_the_file_knows_holds_with_another_config(smoke, tmp_path, smoke_model):
    settings = [
        "autoencoder.latent_scale=0.25",
        "autoencoder.norm_groups=16",
        "unet.norm_min_channels=2",
        "unet.prediction=v",
    ]
    made_with = configs.override(smoke, [*settings, "seed=5"])
    path = tmp_path / "model.safetensors"
    model.save_model(path, made_with, *parts_of(smoke_model), {})
    file = model.ModelFile(path)
    assert file.adapted(smoke) == configs.override(smoke, settings)
    assert file.adapted(smoke, ["autoencoder"]) == configs.override(smoke, settings[:2])
    assert file.adapted(smoke, ["unet"]) == configs.override(smoke, settings[2:])
    checkpoint.save(tmp_path / "bare.safetensors", checkpoint.load(path).arrays, {})
    assert model.ModelFile(tmp_path / "bare.safetensors").adapted(smoke) == smoke


def test_a_file_without_the_number_of_groups_has_small_ones(smoke, tmp_path, smoke_model, caplog):
    """It is of the first version, whose rule was that of the smoke config's setting."""
    caplog.set_level("INFO", "jiidm")
    tree = configs.to_dict(smoke)
    for section in ("autoencoder", "unet"):
        del tree[section]["norm_groups"], tree[section]["norm_min_channels"]
    path = tmp_path / "old.safetensors"
    checkpoint.save(path, checkpoint.load(smoke_model).arrays, {"config": tree})
    assert model.stored_config(path) == smoke
    model.export_half(path, tmp_path / "half.safetensors")
    (line,) = caplog.messages
    assert "old.safetensors" in line and "4 channels a group" in line
    model.export_half(smoke_model, tmp_path / "new.safetensors")
    assert caplog.messages == [line]


def test_a_file_is_opened_once_for_each_thing_that_is_read(smoke_model, monkeypatch):
    opened = []

    def counting(genuine):
        def counted(path, *arguments, **options):
            if Path(path) == smoke_model:
                opened.append(genuine)
            return genuine(path, *arguments, **options)

        return counted

    monkeypatch.setattr(builtins, "open", counting(open))
    monkeypatch.setattr(checkpoint, "safe_open", counting(checkpoint.safe_open))
    file = model.ModelFile(smoke_model)
    assert file.config and file.adapted(file.config) and len(opened) == 1
    assert file.sha256 == file.sha256 and len(opened) == 2
    file.load(file.config)
    assert len(opened) == 3


def test_the_metadata_is_readable_json(smoke_model):
    with safe_open(smoke_model, framework="numpy") as file:
        for value in file.metadata().values():
            assert isinstance(json.loads(value), dict)


def test_the_same_model_is_the_same_file(smoke_model, smoke, tmp_path):
    """Its hash is what an output folder is bound to."""
    hashes = set()
    for number in range(8):
        model.save_model(tmp_path / f"{number}.safetensors", smoke, *parts_of(smoke_model), {"made": "for tests"})
        hashes.add(model.sha256(tmp_path / f"{number}.safetensors"))
    assert len(hashes) == 1


def test_float16_halves_the_file(smoke_model, smoke, tmp_path):
    path = tmp_path / "half.safetensors"
    model.export_half(smoke_model, path)
    assert path.stat().st_size < 0.55 * smoke_model.stat().st_size
    half, whole = model.load_model(path), model.load_model(smoke_model)
    for (name, a), (_, b) in zip(half.unet.named_parameters(), whole.unet.named_parameters()):
        assert a.dtype == "float32", name
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-6, err_msg=name)


def test_an_array_that_halves_cannot_hold_stays_as_it_is(tmp_path, caplog):
    caplog.set_level("INFO", "jiidm")
    arrays = {
        "wide": np.array([1, -65505], np.float32),
        "edge": np.array([65504], np.float32),
        "n": np.array([70000]),
        "tiny": np.full(9, 3e-8, np.float32),  # the smallest half is 6e-8
        "small beside others": np.array([3e-8, 1], np.float32),
        "none": np.zeros((0, 3), np.float32),
    }
    checkpoint.save(tmp_path / "whole", arrays, {"preprocessing": {}})
    model.export_half(tmp_path / "whole", tmp_path / "half")
    halves = checkpoint.load(tmp_path / "half").arrays
    assert {name: array.dtype.name for name, array in halves.items()} == {
        "wide": "float32",
        "edge": "float16",
        "n": "int64",
        "tiny": "float32",
        "small beside others": "float16",
        "none": "float16",
    }
    for name, array in arrays.items():
        np.testing.assert_allclose(halves[name], array, atol=3e-8)
    assert sorted(line.split()[0] for line in caplog.messages) == ["tiny", "wide"]


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    metadata = {checkpoint.METADATA_KEY: json.dumps({"preprocessing": {}})}
    save_file({"w": np.array([np.nan], np.float32)}, tmp_path / "whole", metadata)
    with pytest.raises(CheckpointError, match="whole: w is not finite"):
        model.export_half(tmp_path / "whole", tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_a_model_of_another_shape_is_refused_by_name(smoke_model, smoke):
    wider = configs.override(smoke, ["unet.model_channels=64"])
    with pytest.raises(CheckpointError, match=r"model\.safetensors \(unet\) does not fit.*, not ") as caught:
        model.load_model(smoke_model, wider)
    assert "\n" not in str(caught.value)


def test_a_missing_network_is_refused(smoke_model, smoke, tmp_path):
    path = tmp_path / "part.safetensors"
    model.save_model(path, smoke, parts_of(smoke_model)[0], {}, {})
    with pytest.raises(CheckpointError, match=r"part\.safetensors \(unet\).*missing.*jiidm convert"):
        model.load_model(path)
    checkpoint.save(path, {"other.weight": np.zeros(2)}, {})
    with pytest.raises(CheckpointError, match=r"part\.safetensors: holds neither .*other\.weight"):
        model.load_model(path, smoke)


def test_both_networks_in_a_pickle_are_a_model(smoke_model, smoke, tmp_path):
    """As another kit may save them: nested dicts of Jittor variables."""
    path = tmp_path / "model.pkl"
    autoencoder, unet = ({n: jt.array(a) for n, a in part.items()} for part in parts_of(smoke_model))
    jt.save({"autoencoder": autoencoder, "model": {}, "ema": unet, "step": 3}, str(path))
    loaded = model.load_model(path, smoke)
    for name, value in loaded.unet.named_parameters():
        np.testing.assert_array_equal(value.numpy(), parts_of(smoke_model)[1][name])
    with pytest.raises(InputError, match=r"model\.pkl.*--config"):
        model.load_model(path)


@pytest.mark.parametrize("source", ["model", "pkl", "ckpt", "latent-diffusion ckpt", "diffusers folder"])
def test_an_autoencoder_is_taken_from_many_files(smoke_model, smoke, tmp_path, source):
    state = parts_of(smoke_model)[0]
    path = {"model": smoke_model, "pkl": tmp_path / "vq.pkl", "diffusers folder": tmp_path}.get(
        source, tmp_path / "a.ckpt"
    )
    if source == "pkl":
        path.write_bytes(pickle.dumps(state))
    elif source == "ckpt":
        torch_files.save(path, {**state, "loss.logvar": np.zeros(1, np.float32)}, epoch=3)
    elif source == "latent-diffusion ckpt":
        named = checkpoint.with_prefix("first_stage_model", state)
        torch_files.save(path, {**named, "model.diffusion_model.out.weight": np.zeros(1, np.float32)}, epoch=3)
    elif source == "diffusers folder":
        save_file(to_diffusers_vq(state), path / "diffusion_pytorch_model.safetensors")
    loaded = model.ModelFile(path).load_autoencoder(smoke.autoencoder)
    for name, value in loaded.named_parameters():
        np.testing.assert_array_equal(value.numpy(), state[name])
    with pytest.raises(CheckpointError, match=r"\(autoencoder\) does not fit.*64x3, not 64x4"):
        other = configs.override(smoke, ["autoencoder.codebook_size=64", "autoencoder.latent_channels=4"])
        model.ModelFile(path).load_autoencoder(other.autoencoder)


def test_diffusers_settings_that_the_weights_do_not_show(smoke_model, smoke, tmp_path):
    save_file(to_diffusers_vq(parts_of(smoke_model)[0]), tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    for settings, told in (({"norm_num_groups": 0}, "norm_num_groups is 0"), ({"act_fn": "relu"}, "act_fn is relu")):
        (tmp_path / "config.json").write_text(json.dumps(settings))
        with pytest.raises(CheckpointError, match=told):
            model.ModelFile(tmp_path).load_autoencoder(smoke.autoencoder)
        with pytest.raises(CheckpointError, match=told):
            model.ModelFile(checkpoint.weights_file(tmp_path)).load_autoencoder(smoke.autoencoder)
    for broken in ("[1]", "null", "{", "\xff", "[" * 10**5):
        (tmp_path / "config.json").write_text(broken, encoding="latin-1")
        with pytest.raises(CheckpointError, match=r"/config\.json: ") as caught:
            model.ModelFile(tmp_path).load_autoencoder(smoke.autoencoder)
        assert "\n" not in str(caught.value)
    for settings, groups in (({"act_fn": "silu", "norm_num_groups": 16}, 16), ({}, 32)):
        (tmp_path / "config.json").write_text(json.dumps(settings))
        config = model.ModelFile(tmp_path).adapted(smoke)
        assert (config.autoencoder.norm_groups, config.autoencoder.norm_min_channels) == (groups, 1)
        assert config.unet == smoke.unet
        autoencoder = model.ModelFile(tmp_path).load_autoencoder(config.autoencoder)
        assert autoencoder.encoder.norm_out.num_groups == groups
    (tmp_path / "config.json").write_text('{"norm_num_groups": 24}')
    with pytest.raises(InputError, match="autoencoder.channels is 32, expected a multiple of 24"):
        model.ModelFile(tmp_path).adapted(smoke)


def test_a_file_without_config_needs_one(smoke_model, smoke, tmp_path):
    path = tmp_path / "bare.safetensors"
    save_file(checkpoint.load(smoke_model).arrays, path)
    with pytest.raises(InputError, match=r"bare\.safetensors.*--config"):
        model.load_model(path)
    assert model.load_model(path, smoke).config == smoke


def test_a_stored_config_is_checked(smoke_model, smoke, tmp_path):
    path = tmp_path / "odd.safetensors"
    tree = configs.to_dict(smoke)
    tree["unet"]["colour"] = "red"
    checkpoint.save(path, checkpoint.load(smoke_model).arrays, {"config": tree})
    with pytest.raises(InputError, match=r"odd\.safetensors.*unet\.colour"):
        model.stored_config(path)


def test_a_pickle_is_not_run(tmp_path):
    mark = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    path = tmp_path / "trap.safetensors"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match=r"trap\.safetensors: asks to call posix\.mkdir"):
        model.load_model(path)
    assert not mark.exists()


def test_the_newest_finished_model_is_found_else_the_shipped_one(tmp_path):
    assert model.find_model(tmp_path / "runs") == model.SHIPPED
    for age, name in enumerate(("new", "old", "older")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / model.MODEL_FILE).touch()
        os.utime(folder / model.MODEL_FILE, (1e9 - age, 1e9 - age))
    (tmp_path / "runs" / "unfinished").mkdir()
    assert model.find_model(tmp_path / "runs") == tmp_path / "runs" / "new" / model.MODEL_FILE


def test_sha256_is_that_of_the_bytes(smoke_model):
    assert model.sha256(smoke_model) == hashlib.sha256(smoke_model.read_bytes()).hexdigest()
