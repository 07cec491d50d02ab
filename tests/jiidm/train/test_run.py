"""Whole training runs of the smoke config, seconds each: to the end, interrupted, resumed, refused."""

from __future__ import annotations

import json
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.data.images import load_image, save_png
from jiidm.data.latents import LatentDataset
from jiidm.data.pairs import find_pairs, read_split
from jiidm.data.synthetic.dataset import GENERATOR_VERSION
from jiidm.errors import InputError
from jiidm.model.files import MODEL_FILE, load_model, stored_config
from jiidm.train import autoencoder as train_autoencoder
from jiidm.train import diffusion as train_diffusion
from jiidm.train import run, validation
from jiidm.train.diffusion import STATE_FILE
from jiidm.train.run import train
from jiidm.train.validation import ranked
from ldm_jittor import checkpoint
from ldm_jittor.pixels import to_model


@pytest.fixture(scope="module")
def finished(smoke, tmp_path_factory):
    """A run to the end on generated landscapes; read only."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    assert train(smoke, None, folder) == folder / "model.safetensors"
    return folder


@pytest.fixture
def first_stage(finished, tmp_path):
    """A copy of the run in which the U-Net's training has not begun."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for name in ("state.safetensors", "model.safetensors", "diffusion.jsonl", "loss.png", "distances.json"):
        (folder / name).unlink()
    for name in ("samples", "checkpoints"):
        shutil.rmtree(folder / name)
    return folder


def records_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps_of(path, key):
    return [record["step"] for record in records_of(path) if key in record]


def arrays_of(path):
    return checkpoint.load(path).arrays


def largest_difference(a, b):
    """Over all arrays of two checkpoint files of the same names."""
    a, b = arrays_of(a), arrays_of(b)
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name] - b[name]).max()) for name in a)


def kill_at(monkeypatch, module, name, call):
    """Make the `call`-th call (from 1) of a module's function end the run there and then."""

    def die():
        raise KeyboardInterrupt

    _at_call(monkeypatch, module, name, call, die)


def ctrl_c_at(monkeypatch, module, name, call):
    """Press Ctrl-C while the `call`-th call (from 1) of a module's function is running, in the foreground."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _at_call(monkeypatch, module, name, call, lambda: signal.raise_signal(signal.SIGINT))


def _at_call(monkeypatch, module, name, call, action):
    original, calls = getattr(module, name), []

    def wrapper(*arguments, **options):
        calls.append(name)
        if len(calls) == call:
            action()
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, wrapper)


@pytest.mark.slow
class TestToTheEnd:
    def test_everything_a_run_leaves_is_there(self, finished):
        files = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
        assert {
            "config.yaml",
            "model.safetensors",
            "autoencoder.safetensors",
            "autoencoder.jsonl",
            "autoencoder_loss.png",
            "reconstructions.png",
            "diffusion.jsonl",
            "loss.png",
            "distances.json",
            "state.safetensors",
            "split/train.txt",
            "split/val.txt",
            "split/val_references.json",
            "samples/step_00000002.png",
            "samples/step_00000004.png",
            "checkpoints/step_00000002.safetensors",
            "checkpoints/step_00000004.safetensors",
        } <= files
        assert not any("/." in name or name.startswith(".") for name in files)
        assert "autoencoder_state.safetensors" not in files

    def test_the_metrics_have_every_step_and_both_losses(self, finished):
        path = finished / "diffusion.jsonl"
        assert steps_of(path, "loss") == [1, 2, 3, 4] and steps_of(path, "val_loss") == [2, 4]
        logged = {record["step"]: record["fd_seg"] for record in records_of(path) if "fd_seg" in record}
        assert logged == {entry.step: entry.distance for entry in ranked(finished)} and list(logged) == [2, 4]
        values = [value for record in records_of(path) for value in record.values()]
        assert all(np.isfinite(value) for value in values)
        first = records_of(path)[0]
        # at the start the network predicts zero noise, whose mean square is one
        assert first["simple"] == pytest.approx(1, abs=0.15)
        assert first["loss"] == pytest.approx(first["simple"] + first["variational"], rel=1e-5)
        assert {"loss", "reconstruction", "regularization"} < records_of(finished / "autoencoder.jsonl")[0].keys()
        assert "discriminator" in records_of(finished / "autoencoder.jsonl")[-1]

    @pytest.mark.parametrize(
        "name", ["loss.png", "autoencoder_loss.png", "reconstructions.png", "samples/step_00000004.png"]
    )
    def test_pictures_show_something(self, finished, name):
        with Image.open(finished / name) as picture:
            assert picture.width > 64 and np.array(picture.convert("L")).std() > 1

    def test_the_data_are_the_generators_and_split_once(self, finished, smoke):
        pairs = find_pairs(finished / "data")
        assert len(pairs) == smoke.data.synthetic_count
        training, validation = read_split(finished / "split", pairs)
        assert len(training) + len(validation) == len(pairs) and validation
        assert not {pair.stem for pair in training} & {pair.stem for pair in validation}

    def test_checkpoints_are_models_of_the_averaged_weights(self, finished):
        kept, state = (arrays_of(finished / name) for name in ("checkpoints/step_00000004.safetensors", STATE_FILE))
        averages, trained = (checkpoint.under_prefix(name, state) for name in ("ema", "trainer.parameters"))
        for name in averages:
            np.testing.assert_array_equal(kept[f"unet.{name}"], averages[name])
        assert any(np.abs(averages[name] - trained[name]).max() > 1e-6 for name in averages)
        first = load_model(finished / "checkpoints" / "step_00000002.safetensors")
        assert first.provenance["steps"] == 2 and first.space.scale == load_model(finished / MODEL_FILE).space.scale

    def test_the_model_is_the_mean_of_the_two_best_checkpoints(self, finished):
        model, *kept = (
            arrays_of(finished / name)
            for name in (MODEL_FILE, "checkpoints/step_00000002.safetensors", "checkpoints/step_00000004.safetensors")
        )
        for name in model:
            np.testing.assert_allclose(model[name], (kept[0][name].astype(float) + kept[1][name]) / 2, rtol=1e-6)
        parts = load_model(finished / MODEL_FILE).provenance["average_of"]
        assert [(part["step"], part["fd_seg"]) for part in parts] == [(step, d) for d, step, _ in ranked(finished)]

    def test_without_distances_the_model_is_the_last_average(self, smoke, first_stage, refusal, tmp_path):
        off = "diffusion_training.distance_every=null"
        train(configs.override(smoke, [off]), None, first_stage)
        model, state = arrays_of(first_stage / MODEL_FILE), arrays_of(first_stage / STATE_FILE)
        for name, value in checkpoint.under_prefix("unet", model).items():
            np.testing.assert_array_equal(value, state[f"ema.{name}"])
        assert ranked(first_stage) == [] and not steps_of(first_stage / "diffusion.jsonl", "fd_seg")
        command = ["train", "--config", "smoke", "--run", tmp_path / "other", "--device", "cpu", "--set", off]
        assert "weights.pth: no distance is taken" in refusal([*command, "--inception", "weights.pth"])

    def test_the_model_holds_the_scale_and_where_it_comes_from(self, finished, smoke):
        model = load_model(finished / "model.safetensors")
        assert checkpoint.load_metadata(finished / "state.safetensors") == {"step": 4, "ema_updates": 4}
        for name, value in model.space.autoencoder.named_parameters():
            np.testing.assert_array_equal(value.numpy(), arrays_of(finished / "autoencoder.safetensors")[name])
        (latents,) = (finished / "latents").iterdir()
        stems = (finished / "split" / "train.txt").read_text().split()
        dataset = LatentDataset(latents, stems, model.space.scale)
        assert np.std([dataset[i, 0][0] for i in range(len(stems))]) == pytest.approx(1, rel=1e-4)
        assert model.provenance["steps"] == 4 and model.provenance["images"] == len(stems)
        assert "generator" in model.provenance["data"]
        first_stage = checkpoint.load_metadata(finished / "autoencoder.safetensors")["provenance"]
        for provenance in (model.provenance, first_stage):
            assert provenance["generator_version"] == GENERATOR_VERSION
        assert configs.load_config(finished / "config.yaml") == smoke

    def test_inference_finds_and_runs_it(self, finished, inputs, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        shutil.copytree(finished, "runs/mine", ignore=shutil.ignore_patterns("data", "latents"))
        assert cli.main(["infer", *map(str, inputs), "out", "--device", "cpu"]) == 0
        assert "model: runs/mine/model.safetensors" in capsys.readouterr().out
        assert load_image(tmp_path / "out" / "m1.jpg").shape == (64, 96, 3)

    def test_a_finished_run_does_nothing_more(self, finished, smoke, tmp_path, monkeypatch):
        folder = tmp_path / "again"
        shutil.copytree(finished, folder)
        for module in (train_autoencoder, train_diffusion):
            monkeypatch.setattr(module, "_step", lambda *_: pytest.fail("trained again"))
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        train(smoke, None, folder)
        after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert after.keys() == before.keys()
        # of the model too: an output folder is bound to the model's hash
        assert [str(path) for path in before if after[path] != before[path]] == []

    def test_a_lower_max_steps_does_not_change_what_the_model_says(self, finished, smoke, tmp_path):
        folder = tmp_path / "again"
        shutil.copytree(finished, folder)
        train(configs.override(smoke, ["diffusion_training.max_steps=2"]), None, folder)
        assert load_model(folder / "model.safetensors").provenance["steps"] == 4


@pytest.mark.slow
class TestInterrupted:
    def test_stopped_at_step_2_and_continued_gives_the_same_weights(self, finished, smoke, tmp_path, monkeypatch):
        folder = tmp_path / "halves"
        train(configs.override(smoke, ["diffusion_training.max_steps=2"]), None, folder)
        assert load_model(folder / "model.safetensors").provenance["steps"] == 2
        kill_at(monkeypatch, train_diffusion, "_step", 3)  # only two are left to do
        train(smoke, None, folder)
        assert largest_difference(folder / "autoencoder.safetensors", finished / "autoencoder.safetensors") == 0
        assert largest_difference(folder / "model.safetensors", finished / "model.safetensors") < 1e-6
        assert largest_difference(folder / "state.safetensors", finished / "state.safetensors") < 1e-6
        assert stored_config(folder / "model.safetensors") == stored_config(finished / "model.safetensors")
        metrics = [records_of(path / "diffusion.jsonl") for path in (folder, finished)]
        for ours, theirs in zip(*metrics, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)

    def test_other_accumulation_gives_the_same_weights(self, finished, smoke, first_stage):
        config = configs.override(smoke, ["diffusion_training.accumulation_steps=1"])
        train(config, None, first_stage)
        assert largest_difference(first_stage / "model.safetensors", finished / "model.safetensors") < 1e-4

    @pytest.mark.parametrize(
        "name, call, done", [("_step", 1, 1), ("_step", 3, 3), ("_loss", 3, 2)], ids=["step 1", "step 3", "within 2"]
    )
    def test_ctrl_c_finishes_the_step_and_saves(self, finished, smoke, first_stage, monkeypatch, name, call, done):
        ctrl_c_at(monkeypatch, train_diffusion, name, call)  # a step has two losses, of its accumulated halves
        with pytest.raises(KeyboardInterrupt):
            train(smoke, None, first_stage)
        assert checkpoint.load_metadata(first_stage / "state.safetensors")["step"] == done
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        monkeypatch.undo()
        train(smoke, None, first_stage)
        assert largest_difference(first_stage / "model.safetensors", finished / "model.safetensors") < 1e-6
        assert steps_of(first_stage / "diffusion.jsonl", "loss") == [1, 2, 3, 4]

    def test_ctrl_c_stops_a_distance_which_the_next_call_takes_first(self, finished, smoke, first_stage, monkeypatch):
        ctrl_c_at(monkeypatch, validation, "Input", 3)  # two images a distance: the second one's first
        with pytest.raises(KeyboardInterrupt):
            train(smoke, None, first_stage)
        assert checkpoint.load_metadata(first_stage / STATE_FILE)["step"] == 4
        assert [entry.step for entry in ranked(first_stage)] == [2]
        monkeypatch.undo()
        monkeypatch.setattr(train_diffusion, "_step", lambda *_: pytest.fail("trained again"))
        train(smoke, None, first_stage)
        assert ranked(first_stage)[0][:2] == pytest.approx(ranked(finished)[0][:2], rel=1e-5)
        assert largest_difference(first_stage / MODEL_FILE, finished / MODEL_FILE) < 1e-6
        assert steps_of(first_stage / "diffusion.jsonl", "fd_seg") == [2, 4]

    def test_a_killed_run_goes_on_from_its_last_state(self, finished, smoke, first_stage, monkeypatch):
        kill_at(monkeypatch, train_diffusion, "_step", 4)
        with pytest.raises(KeyboardInterrupt):
            train(smoke, None, first_stage)
        assert checkpoint.load_metadata(first_stage / "state.safetensors")["step"] == 2
        monkeypatch.undo()
        train(smoke, None, first_stage)
        assert largest_difference(first_stage / "model.safetensors", finished / "model.safetensors") < 1e-6

    def test_ctrl_c_right_after_resuming_loses_nothing(self, smoke, first_stage, monkeypatch):
        train(configs.override(smoke, ["diffusion_training.max_steps=2"]), None, first_stage)
        ctrl_c_at(monkeypatch, train_diffusion, "_step", 1)
        with pytest.raises(KeyboardInterrupt):
            train(smoke, None, first_stage)
        assert checkpoint.load_metadata(first_stage / "state.safetensors")["step"] == 3

    def test_ctrl_c_saves_the_autoencoder(self, finished, smoke, tmp_path, monkeypatch):
        training, validation = read_split(finished / "split", find_pairs(finished / "data"))
        ctrl_c_at(monkeypatch, train_autoencoder, "_step", 3)
        with pytest.raises(KeyboardInterrupt):
            train_autoencoder.train_autoencoder(smoke, training, validation, tmp_path, {})
        assert checkpoint.load_metadata(tmp_path / "autoencoder_state.safetensors") == {"step": 3}
        train_autoencoder.train_autoencoder(smoke, training, validation, tmp_path, {})
        assert largest_difference(tmp_path / "autoencoder.safetensors", finished / "autoencoder.safetensors") < 1e-6

    def test_a_killed_autoencoder_goes_on_from_its_last_state(self, finished, smoke, tmp_path, monkeypatch):
        monkeypatch.setattr(train_autoencoder, "SAVE_EVERY", 2)
        monkeypatch.setattr(train_autoencoder, "LOG_EVERY", 1)
        training, validation = read_split(finished / "split", find_pairs(finished / "data"))
        kill_at(monkeypatch, train_autoencoder, "_step", 6)
        with pytest.raises(KeyboardInterrupt):
            train_autoencoder.train_autoencoder(smoke, training, validation, tmp_path, {})
        assert checkpoint.load_metadata(tmp_path / "autoencoder_state.safetensors") == {"step": 4}
        assert not (tmp_path / "autoencoder.safetensors").exists()
        train_autoencoder.train_autoencoder(smoke, training, validation, tmp_path, {})
        assert largest_difference(tmp_path / "autoencoder.safetensors", finished / "autoencoder.safetensors") < 1e-6
        assert not (tmp_path / "autoencoder_state.safetensors").exists()
        steps = steps_of(tmp_path / "autoencoder.jsonl", "loss")
        assert len(steps) == len(set(steps)) == smoke.autoencoder_training.max_steps

    def test_codes_join_in_at_latents_of_their_time(self, finished, smoke, tmp_path, monkeypatch):
        training, validation = read_split(finished / "split", find_pairs(finished / "data"))
        monkeypatch.setattr(train_autoencoder, "LOG_EVERY", 1)
        seed, seen = train_autoencoder._seed_codebook, []

        def seed_and_look(autoencoder, config, pairs):
            seed(autoencoder, config, pairs)
            images = np.stack([load_image(pair.image, config.data.size) for pair in pairs])
            latents = autoencoder.encode(to_model(images)).numpy().transpose(0, 2, 3, 1).reshape(-1, 1, 3)
            codes = autoencoder.quantize.embedding.weight.numpy()
            seen.append(np.abs(latents - codes).max(axis=2).min(axis=0).max())

        monkeypatch.setattr(train_autoencoder, "_seed_codebook", seed_and_look)
        train_autoencoder.train_autoencoder(smoke, training, validation, tmp_path, {})
        assert len(seen) == 1 and seen[0] < 1e-5
        losses = [record["regularization"] for record in records_of(tmp_path / "autoencoder.jsonl")]
        assert losses[:3] == [0, 0, 0] and min(losses[3:]) > 0


class TestRefused:
    @pytest.mark.parametrize(
        "change",
        [
            "seed=1",
            "data.validation_fraction=0.5",
            "autoencoder.codebook_size=32",
            "unet.spade_hidden=32",
            "schedule.kind=cosine",
            "autoencoder_training.max_steps=7",
        ],
    )
    @pytest.mark.slow
    def test_another_model_in_the_same_folder(self, finished, smoke, change):
        before = (finished / "config.yaml").read_bytes()
        with pytest.raises(InputError) as caught:
            train(configs.override(smoke, [change]), None, finished)
        section = change.split(".")[0].split("=")[0]
        assert str(finished / "config.yaml") in str(caught.value) and section in str(caught.value)
        assert (finished / "config.yaml").read_bytes() == before

    @pytest.mark.parametrize("fault", ["label", "partner", "truncated", "empty"])
    def test_faulty_data_before_anything_is_trained(self, landscapes, smoke, tmp_path, monkeypatch, fault, refusal):
        monkeypatch.setattr(run, "train_autoencoder", lambda *_: pytest.fail("trained on faulty data"))
        root = tmp_path / "data"
        shutil.copytree(landscapes, root)
        image, label = root / "imgs" / "synth_000003.jpg", root / "labels" / "synth_000003.png"
        if fault == "label":
            save_png(label, np.full((48, 64), 29, np.uint8))
        elif fault == "partner":
            label.unlink()
        elif fault == "truncated":
            image.write_bytes(image.read_bytes()[:300])
        else:
            image.write_bytes(b"")
        command = ["train", root, "--config", "smoke", "--run", tmp_path / "run", "--device", "cpu"]
        line = refusal(command)
        assert "synth_000003" in line and (fault != "label" or "29" in line)
        # mended, the same command starts
        shutil.rmtree(root)
        shutil.copytree(landscapes, root)
        kill_at(monkeypatch, run, "train_autoencoder", 1)
        assert cli.main([str(part) for part in command]) == 130

    def test_too_few_pairs(self, smoke, landscapes, tmp_path):
        for folder, suffix in (("imgs", "jpg"), ("labels", "png")):
            (tmp_path / "data" / folder).mkdir(parents=True)
            shutil.copy(landscapes / folder / f"synth_000000.{suffix}", tmp_path / "data" / folder)
        with pytest.raises(InputError, match="data: 1 pairs"):
            train(smoke, tmp_path / "data", tmp_path / "run")


@pytest.mark.slow
class TestGivenAutoencoder:
    @pytest.mark.parametrize("brings_its_scale", [True, False])
    def test_none_is_trained_and_its_own_scale_wins(
        self, finished, smoke, landscapes, tmp_path, monkeypatch, brings_its_scale
    ):
        monkeypatch.setattr(run, "train_autoencoder", lambda *_: pytest.fail("trained an autoencoder"))
        overrides = ["autoencoder.latent_scale=0.25", "diffusion_training.max_steps=1"]
        config = configs.override(smoke, overrides)
        source = finished / "autoencoder.safetensors"
        if not brings_its_scale:
            source = tmp_path / "bare.safetensors"
            checkpoint.save(source, arrays_of(finished / "autoencoder.safetensors"), {})
        model = load_model(train(config, landscapes, tmp_path / "run", source))
        expected = load_model(finished / "model.safetensors").space.scale if brings_its_scale else 0.25
        assert model.space.scale == expected != 1 and model.provenance["data"] == str(landscapes)
        assert model.provenance["generator_version"] == GENERATOR_VERSION  # as the folder's dataset.json says
        for name, value in model.space.autoencoder.named_parameters():
            np.testing.assert_array_equal(value.numpy(), arrays_of(finished / "autoencoder.safetensors")[name])

    def test_the_command_line_trains_on_a_folder(self, landscapes, finished, tmp_path, capsys):
        command = ["train", landscapes, "--config", "smoke", "--set", "diffusion_training.max_steps=1"]
        command += ["--run", tmp_path / "run", "--autoencoder", finished / "autoencoder.safetensors", "--device", "cpu"]
        assert cli.main([str(part) for part in command]) == 0
        assert f"--checkpoint {tmp_path / 'run' / 'model.safetensors'}" in capsys.readouterr().out
        assert len(find_pairs(landscapes)) == 6
