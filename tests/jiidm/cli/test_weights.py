"""`jiidm average`: a model of models, and everything it refuses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.model.files import load_model
from ldm_jittor import checkpoint


@pytest.fixture
def models(smoke_model, tmp_path) -> list[Path]:
    """Three models: the second of twice the first's weights, the third of three times."""
    stored = checkpoint.load(smoke_model)
    paths = [tmp_path / f"{factor}.safetensors" for factor in (1, 2, 3)]
    for factor, path in enumerate(paths, 1):
        metadata = {**stored.metadata, "provenance": {"generator_version": 2, "steps": factor}}
        checkpoint.save(path, {name: factor * array for name, array in stored.arrays.items()}, metadata)
    return paths


def average(*arguments):
    return cli.main(["average", *map(str, arguments)])


def test_two_models_and_their_weights(models, tmp_path, smoke):
    assert average(*models[:2], "--out", tmp_path / "new" / "mean.safetensors", "--weights", 1, 3) == 0
    mean, first = (load_model(path) for path in (tmp_path / "new" / "mean.safetensors", models[0]))
    for name, parameter in first.unet.named_parameters():
        ours = dict(mean.unet.named_parameters())[name].numpy()
        np.testing.assert_allclose(ours, 1.75 * parameter.numpy(), rtol=1e-6)
    assert mean.config == smoke
    assert mean.provenance == {
        "generator_version": 2,  # what both say, unlike their steps
        "average_of": [
            {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "weight": weight}
            for path, weight in zip(models, (0.25, 0.75))
        ],
    }


def test_a_mean_lists_the_networks_of_all(models, tmp_path):
    a, b = ({"use": "validation", "name": name, "sha256": name * 64} for name in "ab")
    for path, networks in zip(models, ([a], [a, b])):
        stored = checkpoint.load(path)
        checkpoint.save(path, stored.arrays, {**stored.metadata, "provenance": {"networks": networks}})
    assert average(*models, "--out", tmp_path / "mean.safetensors") == 0
    assert load_model(tmp_path / "mean.safetensors").provenance["networks"] == [a, b]


@pytest.fixture
def trained(models, tmp_path) -> Path:
    """A run folder with three checkpoints: the weights once, twice, three times; the second is the worst."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    entries = []
    for step, (path, distance) in enumerate(zip(models, (4.5, 9.0, 1.25)), 1):
        path.rename(folder / "checkpoints" / f"step_{step:08d}.safetensors")
        made_with = {"score": "FID", "network": "a" * 64, "images": 7, "sampling": "b" * 16}
        entries.append({"step": step, "distance": distance, **made_with})
    (folder / "distances.json").write_text(json.dumps(entries))
    return folder


def test_the_two_best_of_a_run(trained, tmp_path, smoke_model, inputs, capsys):
    mean = tmp_path / "mean.safetensors"
    assert average("--best", 2, trained, "--out", mean) == 0
    assert "0.5 x step 3 (FID 1.25) + 0.5 x step 1 (FID 4.5)" in capsys.readouterr().out
    arrays = checkpoint.load(mean).arrays
    for name, array in checkpoint.load(smoke_model).arrays.items():
        np.testing.assert_allclose(arrays[name], 2 * array, rtol=1e-6)
    parts = load_model(mean).provenance["average_of"]
    assert [(part["step"], part["FID"], part["weight"]) for part in parts] == [(3, 1.25, 0.5), (1, 4.5, 0.5)]
    assert cli.main(inputs.command(tmp_path / "out", mean)) == 0


def test_the_best_have_weights_too(trained, tmp_path, smoke_model):
    assert average("--best", 3, trained, "--out", tmp_path / "mean", "--weights", 2, 1, 1) == 0
    arrays = checkpoint.load(tmp_path / "mean").arrays
    for name, array in checkpoint.load(smoke_model).arrays.items():
        np.testing.assert_allclose(arrays[name], (2 * 3 + 1 + 2) / 4 * array, rtol=1e-6)


def test_runs_whose_best_cannot_be_averaged(trained, tmp_path, refusal):
    out, path = tmp_path / "mean", trained / "distances.json"

    def told(*arguments):
        return refusal(["average", *arguments, "--out", out])

    assert "--best 1" in told("--best", 1, trained)
    assert "--best 2" in told("--best", 2, trained, trained)
    assert "1 for 2" in told("--best", 2, trained, "--weights", 1)
    assert f"{path}: 3 checkpoints are listed, 4" in told("--best", 4, trained)
    gone = trained / "checkpoints" / "step_00000001.safetensors"
    gone.rename(tmp_path / "away")
    assert str(gone) in told("--best", 2, trained)
    (tmp_path / "away").rename(gone)
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([*entries[:2], {**entries[2], "network": "c" * 64}]))
    assert f"{path}: " in (line := told("--best", 2, trained)) and "another network (aaaaaaaaaaaa, now cccc" in line
    path.write_text(json.dumps(entries[:1]))
    assert "1 checkpoints are listed, 2" in told("--best", 2, trained)
    path.unlink()
    assert f"{trained}: no distances.json" in told("--best", 2, trained)
    assert not out.exists()


def test_three_models_of_equal_weight(models, tmp_path, capsys):
    assert average(*models, "--out", tmp_path / "mean") == 0
    mean, second = (checkpoint.load(path) for path in (tmp_path / "mean", models[1]))
    for name, array in second.arrays.items():
        np.testing.assert_allclose(mean.arrays[name], array, rtol=1e-6)
    assert "0.333 x" in capsys.readouterr().out


def test_weights_without_a_config(tmp_path):
    """What training keeps on its way, `checkpoints/step_*.safetensors`."""
    for name in "ab":
        checkpoint.save(tmp_path / name, {"w": np.ones(2, np.float32)}, {"step": 3})
    assert average(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "mean") == 0
    assert checkpoint.load_metadata(tmp_path / "mean").keys() == {"provenance"}


def test_segmenters_keep_their_preprocessing(tmp_path, refusal):
    for name, side in (("a", 512), ("b", 512), ("c", 256)):
        checkpoint.save(tmp_path / name, {"w": np.ones(2, np.float32)}, {"preprocessing": {"resize": [side, 384]}})
    assert average(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "mean") == 0
    assert checkpoint.load_metadata(tmp_path / "mean")["preprocessing"] == {"resize": [512, 384]}
    told = refusal(["average", tmp_path / "a", tmp_path / "c", "--out", tmp_path / "other"])
    assert f"{tmp_path / 'c'} does not fit" in told and "preprocessing is {'resize': [256, 384]}" in told


def with_config(source, target, *assignments):
    """A copy of a model whose config is another."""
    stored = checkpoint.load(source)
    config = configs.override(configs.from_dict(stored.metadata["config"], "here"), assignments)
    checkpoint.save(target, stored.arrays, {"config": configs.to_dict(config)})
    return target


def test_training_and_inference_settings_may_differ(models, tmp_path):
    other = with_config(models[0], tmp_path / "b", "name=other", "seed=3", "diffusion_training.max_steps=99")
    assert average(models[0], other, "--out", tmp_path / "mean") == 0
    assert load_model(tmp_path / "mean").config == load_model(models[0]).config


def test_a_file_without_the_number_of_groups_means_what_it_meant(models, tmp_path, smoke):
    """One of the first version, whose rule is today's setting of the smoke config."""
    stored = checkpoint.load(models[0])
    for section in ("autoencoder", "unet"):
        del stored.metadata["config"][section]["norm_groups"], stored.metadata["config"][section]["norm_min_channels"]
    checkpoint.save(tmp_path / "old.safetensors", stored.arrays, stored.metadata)
    assert average(tmp_path / "old.safetensors", models[1], "--out", tmp_path / "mean.safetensors") == 0
    assert load_model(tmp_path / "mean.safetensors").config == smoke


def test_another_meaning_of_the_weights_is_refused(models, tmp_path, refusal):
    other = with_config(models[0], tmp_path / "b", "autoencoder.latent_scale=2", "data.size=[128,96]")
    told = refusal(["average", models[0], other, "--out", tmp_path / "mean"])
    assert f"{other} does not fit {models[0]}: " in told
    assert "autoencoder.latent_scale is 2.0, not 1.0" in told and "data.size is [128, 96], not [64, 48]" in told
    assert "unet" not in told
    checkpoint.save(tmp_path / "bare", checkpoint.load(models[0]).arrays, {})
    told = refusal(["average", models[0], tmp_path / "bare", "--out", tmp_path / "mean"])
    assert "bare" in told and "data.size is None" in told
    assert not (tmp_path / "mean").exists()


def test_what_is_refused_before_anything_is_read(models, tmp_path, refusal):
    a, b, out = models[0], models[1], tmp_path / "mean"
    (tmp_path / "foreign.ckpt").write_bytes(b"PK\x03\x04 a zip archive")
    for arguments, words in (
        ([a, "--out", out], [a, "two or more"]),
        ([a, b, "--out", a], [a, "exists already"]),
        ([a, b, "--out", tmp_path], [tmp_path, "exists already"]),
        ([a, b, "--out", out, "--weights", 1e308, 1e308], ["--weights", "too large"]),
        ([a, b, "--out", out, "--weights", 1], ["--weights", "1 for 2"]),
        ([a, b, "--out", out, "--weights", 1, 0], ["--weights", "0.0"]),
        ([a, b, "--out", out, "--weights", 1, "nan"], ["--weights", "nan"]),
        ([a, tmp_path / "absent", "--out", out], [tmp_path / "absent"]),
        ([a, tmp_path / "foreign.ckpt", "--out", out], [tmp_path / "foreign.ckpt", "converted"]),
    ):
        told = refusal(["average", *arguments])
        assert all(str(word) in told for word in words), told
    assert not out.exists()


def test_a_target_that_cannot_be_written(models, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert average(*models, "--out", tmp_path / "file" / "mean") == 2
    assert f"error: {tmp_path / 'file' / 'mean'}: cannot be written" in capsys.readouterr().err


def test_average_refuses_a_missing_target_and_weights_that_are_no_numbers(models, refusal):
    assert "--out" in refusal(["average", *models[:2]])
    assert "'one'" in refusal(["average", *models[:2], "--out", "x", "--weights", "one"])
