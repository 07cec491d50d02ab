"""Whole training runs of the smoke config, seconds each: to the end, interrupted, resumed, refused."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import arrays_of, ctrl_c_at, kill_at, largest_difference, records_of, steps_of

from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.data.images import load_image, save_png
from jiidm.data.latents import LatentDataset
from jiidm.data.pairs import find_pairs, read_split
from jiidm.data.synthetic.dataset import GENERATOR_VERSION
from jiidm.errors import InputError
from jiidm.model.files import MODEL_FILE, load_model, stored_config
from jiidm.train import loop, run, validation
from jiidm.train.checkpoints import ranked
from jiidm.train.diffusion import STATE_FILE, DiffusionStage
from jiidm.train.run import train
from ldm_jittor import checkpoint


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
        state = checkpoint.load_metadata(finished / "state.safetensors")
        assert state.items() >= {"step": 4, "ema_updates": 4, "skipped_steps": 0}.items()
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
        monkeypatch.setattr(loop, "_update", lambda *_: pytest.fail("trained again"))
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
        kill_at(monkeypatch, loop, "_update", 3)  # only two are left to do
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
        "place, call, done",
        [((loop, "_update"), 1, 1), ((loop, "_update"), 3, 3), ((DiffusionStage, "loss"), 3, 2)],
        ids=["step 1", "step 3", "within 2"],
    )
    def test_ctrl_c_finishes_the_step_and_saves(self, finished, smoke, first_stage, monkeypatch, place, call, done):
        ctrl_c_at(monkeypatch, *place, call)  # a step has two losses, of its accumulated halves
        with pytest.raises(KeyboardInterrupt):
            train(smoke, None, first_stage)
        assert checkpoint.load_metadata(first_stage / "state.safetensors")["step"] == done
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        monkeypatch.undo()
        train(smoke, None, first_stage)
        assert largest_difference(first_stage / "model.safetensors", finished / "model.safetensors") < 1e-6
        assert steps_of(first_stage / "diffusion.jsonl", "loss") == [1, 2, 3, 4]

    @pytest.mark.parametrize("call", [5, 7], ids=["samples", "distance"])
    def test_ctrl_c_stops_an_evaluation_which_the_next_call_does_first(
        self, finished, smoke, first_stage, monkeypatch, call
    ):
        ctrl_c_at(monkeypatch, validation, "Input", call)  # two images of samples and two of a distance, at 2 and 4
        with pytest.raises(KeyboardInterrupt):
            train(smoke, None, first_stage)
        assert checkpoint.load_metadata(first_stage / STATE_FILE)["step"] == 4
        assert [entry.step for entry in ranked(first_stage)] == [2]
        monkeypatch.undo()
        monkeypatch.setattr(loop, "_update", lambda *_: pytest.fail("trained again"))
        train(smoke, None, first_stage)
        assert ranked(first_stage)[0][:2] == pytest.approx(ranked(finished)[0][:2], rel=1e-5)
        assert largest_difference(first_stage / MODEL_FILE, finished / MODEL_FILE) < 1e-6
        assert steps_of(first_stage / "diffusion.jsonl", "fd_seg") == [2, 4]
        for name in ("samples/step_00000004.png", "loss.png"):
            assert (first_stage / name).read_bytes() == (finished / name).read_bytes()

    def test_a_run_that_stops_where_a_validation_is_due_takes_it_when_it_goes_on(
        self, smoke, first_stage, tmp_path, monkeypatch
    ):
        often = ["validate_every=1", "distance_every=null", "checkpoint_every=4", "log_every=3"]
        config = configs.override(smoke, [f"diffusion_training.{setting}" for setting in often])
        stopped = Path(shutil.copytree(first_stage, tmp_path / "stopped"))
        train(config, None, first_stage)
        ctrl_c_at(monkeypatch, loop, "_update", 2)
        with pytest.raises(KeyboardInterrupt):
            train(config, None, stopped)
        monkeypatch.undo()
        train(config, None, stopped)
        assert records_of(stopped / "diffusion.jsonl") == records_of(first_stage / "diffusion.jsonl")
        assert steps_of(stopped / "diffusion.jsonl", "val_loss") == [1, 2, 3, 4]

    def test_a_killed_run_goes_on_from_its_last_state(self, finished, smoke, first_stage, monkeypatch):
        kill_at(monkeypatch, loop, "_update", 4)
        with pytest.raises(KeyboardInterrupt):
            train(smoke, None, first_stage)
        assert checkpoint.load_metadata(first_stage / "state.safetensors")["step"] == 2
        monkeypatch.undo()
        train(smoke, None, first_stage)
        assert largest_difference(first_stage / "model.safetensors", finished / "model.safetensors") < 1e-6

    def test_ctrl_c_right_after_resuming_loses_nothing(self, smoke, first_stage, monkeypatch):
        train(configs.override(smoke, ["diffusion_training.max_steps=2"]), None, first_stage)
        ctrl_c_at(monkeypatch, loop, "_update", 1)
        with pytest.raises(KeyboardInterrupt):
            train(smoke, None, first_stage)
        assert checkpoint.load_metadata(first_stage / "state.safetensors")["step"] == 3


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
class TestSettings:
    def test_a_resumed_run_keeps_what_has_changed_and_says_so(self, smoke, first_stage, caplog):
        caplog.set_level("INFO", "jiidm")
        train(configs.override(smoke, ["diffusion_training.max_steps=2"]), None, first_stage)
        assert checkpoint.load_metadata(first_stage / STATE_FILE)["provenance"]["settings_history"] == [
            {"step": 0, "changed": {"diffusion_training.max_steps": [4, 2]}}
        ]
        caplog.clear()
        changed = configs.override(smoke, ["diffusion_training.learning_rate=0.0003"])
        train(changed, None, first_stage)
        told = [message for message in caplog.messages if "settings changed" in message]
        assert len(told) == 1 and "step 2: diffusion_training.max_steps 2 -> 4, diffusion_training.learning" in told[0]
        history = load_model(first_stage / MODEL_FILE).provenance["settings_history"]
        assert history[1] == {
            "step": 2,
            "changed": {"diffusion_training.max_steps": [2, 4], "diffusion_training.learning_rate": [1e-4, 3e-4]},
        }
        for name in (STATE_FILE, "checkpoints/step_00000004.safetensors"):
            assert checkpoint.load_metadata(first_stage / name)["provenance"]["settings_history"] == history
        assert configs.load_saved(first_stage / "config.yaml") == changed

    def test_a_change_that_is_refused_is_not_in_the_history(self, finished, smoke, tmp_path):
        folder = tmp_path / "run"
        shutil.copytree(finished, folder)
        before = (folder / "config.yaml").read_bytes()
        other = configs.override(smoke, ["inference.rounds.0.guidance_scale=3.0", "diffusion_training.max_steps=8"])
        with pytest.raises(InputError, match="do not compare"):
            train(other, None, folder)
        assert (folder / "config.yaml").read_bytes() == before
        assert not (folder / "config_history.json").exists()

    def test_a_run_that_nothing_changes_has_no_history(self, finished):
        assert "settings_history" not in load_model(finished / MODEL_FILE).provenance
        assert not (finished / "config_history.json").exists()


@pytest.mark.slow
class TestDiverged:
    """At this rate one step throws the weights so far that no later loss is finite."""

    def train_too_fast(self, folder, capsys):
        command = ["train", "--config", "smoke", "--run", str(folder), "--device", "cpu"]
        assert cli.main([*command, "--set", "diffusion_training.learning_rate=1e30"]) == 2
        assert not (folder / MODEL_FILE).exists()
        return capsys.readouterr().err.splitlines()[-1]

    def test_a_run_of_nan_ends_with_an_error_and_writes_no_model(self, first_stage, capsys):
        told = self.train_too_fast(first_stage, capsys)
        assert told.startswith("error: diffusion: the loss or its gradients are not finite in steps 2 to 4; no state")
        assert not (first_stage / "checkpoints").exists()
        assert steps_of(first_stage / "diffusion.jsonl", "skipped_steps") == [2, 3, 4]

    def test_a_run_that_diverges_later_names_a_state_that_goes_on(self, finished, smoke, first_stage, capsys):
        train(configs.override(smoke, ["diffusion_training.max_steps=2"]), None, first_stage)
        (first_stage / MODEL_FILE).unlink()
        told = self.train_too_fast(first_stage, capsys)
        assert f"{first_stage / STATE_FILE} holds the last good state, step 2" in told
        train(smoke, None, first_stage)
        assert largest_difference(first_stage / MODEL_FILE, finished / MODEL_FILE) < 1e-6


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

    @pytest.mark.parametrize("name", ["autoencoder.safetensors", "checkpoints/step_00000004.safetensors"])
    def test_damaged_weights_of_the_run_are_told_as_such(self, finished, tmp_path, capsys, name):
        folder = shutil.copytree(finished, tmp_path / "run")
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)
        assert cli.main(["train", "--config", "smoke", "--run", str(folder), "--device", "cpu"]) == 2
        assert f"error: {folder / name}: damaged" in capsys.readouterr().err

    def test_a_run_goes_on_with_the_same_one_or_is_refused_before_anything_is_done(
        self, finished, smoke, tmp_path, refusal
    ):
        folder = shutil.copytree(finished, tmp_path / "run")
        stored = checkpoint.load(finished / "autoencoder.safetensors")
        other = tmp_path / "other.safetensors"
        checkpoint.save(other, {name: array + 1 for name, array in stored.arrays.items()}, stored.metadata)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        command = ["train", "--config", "smoke", "--run", folder, "--device", "cpu"]
        command += ["--set", "diffusion_training.max_steps=6"]
        line = refusal([*command, "--autoencoder", other])
        assert f"{folder / 'autoencoder.json'}: made with another autoencoder (" in line
        assert line.endswith("give the same file again, or choose another --run folder")
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        (folder / "autoencoder.safetensors").unlink()
        assert "now none" in refusal(command)
        shutil.copy(other, folder / "autoencoder.safetensors")
        assert "made with another autoencoder" in refusal(command)
