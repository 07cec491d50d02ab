"""A GAN's run by the command line: trained, interrupted, resumed, used, refused. smoke_gaugan takes seconds."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest
from networks import Brightness
from PIL import Image
from runs import kill_at, records_of, steps_of

from jiidm.baselines.model import load_gan
from jiidm.baselines.run import train_gan
from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.data.images import load_image
from jiidm.model.files import ModelFile
from jiidm.train import loop, validation
from jiidm.train.checkpoints import ranked
from ldm_jittor import checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config():
    return configs.load_config("smoke_gaugan", ["data.size=[64,64]"])


@pytest.fixture(scope="module")
def trained(config, landscapes, tmp_path_factory):
    """A run to the end; read only."""
    folder = tmp_path_factory.mktemp("runs") / "gan"
    assert train_gan(config, landscapes, folder) == folder / "model.safetensors"
    return folder


@pytest.fixture
def model(trained):
    return trained / "model.safetensors"


def test_run_leaves_model_state_log_curves_and_sheets(trained):
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert files == {
        *("config.yaml", "model.safetensors", "state.safetensors", "state.previous.safetensors", "run.lock"),
        *("gan.jsonl", "loss.png"),
        *("split/train.txt", "split/val.txt", "split/val_references.json", "split/hashes.json"),
        *("samples/step_00000002.png", "samples/step_00000004.png"),
    }
    assert steps_of(trained / "gan.jsonl", "loss") == steps_of(trained / "gan.jsonl", "discriminator") == [1, 2, 3, 4]
    assert all(np.isfinite(value) for record in records_of(trained / "gan.jsonl") for value in record.values())
    with Image.open(trained / "samples" / "step_00000004.png") as sheet:
        assert sheet.width > 4 * 64


def test_model_tells_method_steps_and_the_loss_it_lacks(model, config):
    file = ModelFile(model)
    assert file.config == config
    provenance = file.metadata["provenance"]
    assert provenance["steps"] == 4 and provenance["networks"] == []
    names = checkpoint.state_dict(load_gan(file).network)
    assert {name.split(".")[0] for name in names} == {"generator", "encoder"}


def test_killed_run_goes_on_to_the_same_bytes(trained, config, landscapes, tmp_path, monkeypatch):
    kill_at(monkeypatch, loop, "_update", 4)
    with pytest.raises(KeyboardInterrupt):
        train_gan(config, landscapes, tmp_path / "gan")
    assert checkpoint.load_metadata(tmp_path / "gan" / "state.safetensors")["step"] == 2
    monkeypatch.undo()
    train_gan(config, landscapes, tmp_path / "gan")
    for name in ("model.safetensors", "state.safetensors", "gan.jsonl", "samples/step_00000004.png"):
        assert (tmp_path / "gan" / name).read_bytes() == (trained / name).read_bytes(), name


def test_finished_run_trains_no_more(trained, config, landscapes, tmp_path, monkeypatch):
    folder = tmp_path / "again"
    shutil.copytree(trained, folder)
    monkeypatch.setattr(loop, "_update", lambda *_: pytest.fail("trained again"))
    train_gan(config, landscapes, folder)
    assert (folder / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_averages_that_are_asked_for_later_start_at_the_weights_so_far(config, landscapes, tmp_path):
    folder = tmp_path / "gan"
    train_gan(configs.override(config, ["gan_training.max_steps=2"]), landscapes, folder)
    train_gan(configs.override(config, ["gan_training.ema_decay=0.5"]), landscapes, folder)
    state = checkpoint.load(folder / "state.safetensors")
    assert state.metadata["ema_updates"] == 2
    assert any(name.startswith("ema.") for name in state.arrays)


def test_distances_rank_checkpoints_and_the_best_is_the_model(config, landscapes, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "load_fd_network", lambda file: ("fd", Brightness()))
    settings = ["data.validation_fraction=0.5", "gan_training.distance_every=2", "gan_training.distance_images=3"]
    config = configs.override(config, settings)
    folder = tmp_path / "gan"
    train_gan(config, landscapes, folder)
    best, other = ranked(folder)
    assert {best.step, other.step} == {2, 4} == set(steps_of(folder / "gan.jsonl", "fd"))
    assert (folder / "model.safetensors").read_bytes() == best.path.read_bytes() != other.path.read_bytes()
    provenance = ModelFile(folder / "model.safetensors").metadata["provenance"]
    assert provenance["networks"] == [{"use": "validation", "name": "brightness", "sha256": 64 * "b"}]
    assert provenance["steps"] == best.step

    mean = tmp_path / "mean.safetensors"
    assert cli.main(["average", "--best", "2", str(folder), "--out", str(mean)]) == 0
    arrays, sources = checkpoint.load(mean).arrays, [checkpoint.load(entry.path).arrays for entry in ranked(folder)]
    stems = [name.removesuffix("orig") for name in arrays if name.endswith(".weight_orig")]
    for stem in stems:
        weight = np.mean([source[f"{stem}orig"] for source in sources], axis=0)
        np.testing.assert_allclose(arrays[f"{stem}orig"], weight, atol=1e-6)
        u, v = arrays[f"{stem}u"], arrays[f"{stem}v"]
        matrix = weight.reshape(len(weight), -1)
        assert u @ matrix @ v == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[0], rel=1e-5), stem
    assert len(stems) > 10 and load_gan(ModelFile(mean))


def test_infer_paints_and_a_second_call_does_nothing(model, inputs, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    command = inputs.command(tmp_path / "out", model)
    assert cli.main(command) == 0
    assert load_image(tmp_path / "out" / "m1.jpg").shape == (64, 96, 3)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"m0.jpg", "m1.jpg", "m2.jpg", "_run"}
    run_files = {path.name for path in (tmp_path / "out" / "_run").iterdir()}
    assert run_files == {"manifest.json", "config.yaml", "contact_sheet.jpg", "inputs.json"}
    made_by = json.loads((tmp_path / "out" / "_run" / "manifest.json").read_text())["made_by"]
    assert (made_by["method"], made_by["seed"]) == ("gaugan", 0) and "unet" not in made_by
    assert cli.main(command) == 0
    assert "nothing to do" in caplog.text


def test_missing_image_comes_back_the_same(model, inputs, tmp_path):
    command = inputs.command(tmp_path / "out", model)
    assert cli.main(command) == 0
    image, sheet = (tmp_path / "out" / name for name in ("m1.jpg", "_run/contact_sheet.jpg"))
    before = image.read_bytes(), Image.open(sheet).size
    image.unlink()
    assert cli.main(command) == 0
    assert (image.read_bytes(), Image.open(sheet).size) == before


def test_folder_of_another_model_is_refused(model, smoke_model, inputs, tmp_path, refusal):
    assert cli.main(inputs.command(tmp_path / "out", model)) == 0
    assert "another model" in refusal(inputs.command(tmp_path / "out", smoke_model))


@pytest.mark.parametrize(
    "given, told",
    [
        (["--fast"], "smoke_gaugan is a gaugan, which has no rounds"),
        (["--set", "inference.rounds.0.num_steps=2"], "only where method is iidm"),
        (["--set", "gan.style_channels=2"], "only where method is sean"),
        (["--set", "method=clade"], "its method is gaugan, and not clade"),
        (["--config", "smoke"], "its method is gaugan, and not iidm"),
        (["--set", "gan.channels=4"], "does not fit"),
        (["--candidates", "2"], "images are the same for every seed; --set gan.sample_style=true"),
        (["--set", "data.size=[100,64]"], "data.size is 100x64, expected multiples of 32"),
    ],
)
def test_infer_refuses_what_a_gan_has_not(model, inputs, tmp_path, refusal, given, told):
    assert told in refusal(inputs.command(tmp_path / "out", model, *given))
    assert not list(tmp_path.glob("out/*.jpg"))


def test_diffusion_model_is_refused_where_a_gan_is_configured(smoke_model, inputs, tmp_path, refusal):
    given = inputs.command(tmp_path / "out", smoke_model, "--config", "smoke_gaugan")
    assert "its method is iidm, and not gaugan" in refusal(given)
    assert "only where method is gaugan" in refusal(
        inputs.command(tmp_path / "out", smoke_model, "--set", "gan.sample_style=true")
    )


@pytest.mark.parametrize(
    "command, told",
    [
        (
            ["sweep", "--checkpoint", "MODEL", "--out", "OUT", "--config", "smoke"],
            "model.safetensors: a gaugan, and not a diffusion model",
        ),
        (["sweep", "--out", "OUT", "--config", "smoke_gaugan"], "for the diffusion model only"),
        (["ablate", "--out", "OUT", "--config", "smoke_gaugan"], "for the diffusion model only"),
        (["ablate", "--checkpoint", "MODEL", "--out", "OUT", "--config", "smoke"], "a gaugan, and not a diffusion"),
        (["schedule", "smoke_gaugan"], "smoke_gaugan is a gaugan, which has no rounds"),
        (["data", "encode", "DATA", "OUT", "--checkpoint", "MODEL"], "a gaugan, and not a diffusion model"),
        (["convert", "MODEL", "OUT.safetensors"], "a gaugan, and not a diffusion model"),
        (["train", "DATA", "--config", "smoke_gaugan", "--set", "unet.model_channels=8"], "only where method is iidm"),
        (["train", "DATA", "--config", "smoke", "--set", "gan_training.max_steps=8"], "only where method is gaugan"),
        (
            ["train", "DATA", "--config", "smoke", "--autoencoder", "MODEL", "--run", "OUT"],
            "a gaugan, and not a diffusion model",
        ),
        (["train", "--config", "smoke_gaugan", "--autoencoder", "MODEL"], "--autoencoder: smoke_gaugan is a gaugan"),
        (
            ["train", "--config", "smoke_gaugan", "--inception", "MODEL"],
            "no distance is taken; set gan_training.distance_every",
        ),
    ],
)
def test_commands_of_the_diffusion_model_refuse_a_gan(model, landscapes, tmp_path, monkeypatch, refusal, command, told):
    monkeypatch.chdir(tmp_path)
    device = [] if command[0] in ("schedule", "convert") else ["--device", "cpu"]
    places = {
        "MODEL": model,
        "OUT": tmp_path / "out",
        "DATA": landscapes,
        "OUT.safetensors": tmp_path / "o.safetensors",
    }
    assert told in refusal([places.get(word, word) for word in command] + device)


def test_run_folder_of_another_method_is_refused(trained, landscapes, refusal):
    for name, key in (("clade", "method"), ("gaugan", "gan.channels")):
        given = [
            "train",
            landscapes,
            "--config",
            name,
            "--run",
            trained,
            "--device",
            "cpu",
            "--set",
            "data.size=[64,64]",
        ]
        assert key in refusal(given) or "data" in refusal(given)


def test_halves_of_an_exported_gan_paint(model, inputs, tmp_path):
    assert cli.main(["export", str(model), str(tmp_path / "half.safetensors")]) == 0
    assert cli.main(inputs.command(tmp_path / "half", tmp_path / "half.safetensors")) == 0
    assert cli.main(inputs.command(tmp_path / "full", model)) == 0
    for half, full in zip(sorted(tmp_path.glob("half/*.jpg")), sorted(tmp_path.glob("full/*.jpg")), strict=True):
        assert np.abs(load_image(half).astype(int) - load_image(full)).max() <= 8


def test_dry_run_prints_the_networks_sizes(capsys):
    assert cli.main(["train", "--config", "smoke_gaugan", "--dry-run", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert all(
        name in told
        for name in ("gaugan, 128x96", "generator: ", "discriminator: ", "encoder: ", "GFLOP a pass", "one image: ")
    )
