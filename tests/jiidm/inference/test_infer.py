"""`jiidm infer` from its arguments to the submission folder, with a smoke model of random weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from arrays import largest_difference
from infer_calls import contents, paint
from PIL import Image
from processes import PROJECT

from jiidm import pipeline
from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.data import images
from jiidm.data.identity import sha256
from jiidm.data.images import load_image
from jiidm.evaluate import segmenter
from jiidm.inference import inputs as given
from jiidm.inference.folder import OutputFolder
from jiidm.inference.inputs import check_inputs
from jiidm.size import Size

STEMS = ["m0", "m1", "m2"]
INPUT_FILES = [*(f"{stem}.png" for stem in STEMS), *(f"photo{number}.jpg" for number in range(3))]


class TestOutputs:
    def test_one_jpeg_of_its_masks_size_per_mask(self, painted, original_inputs):
        assert sorted(path.name for path in painted.iterdir()) == ["_run", "m0.jpg", "m1.jpg", "m2.jpg"]
        for stem in STEMS:
            with (
                Image.open(painted / f"{stem}.jpg") as image,
                Image.open(original_inputs.masks / f"{stem}.png") as mask,
            ):
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", mask.size)
        assert len(set(contents(painted).values())) == 3
        assert OutputFolder(painted).faults(check_inputs(*original_inputs, None)) == []

    def test_the_last_batch_is_made_though_it_is_not_full(self, painted, smoke):
        assert smoke.inference.batch_size == 2 and len(contents(painted)) == 3

    def test_the_run_folder_tells_what_was_done(self, painted, smoke, smoke_model):
        run = painted / "_run"
        manifest = json.loads((run / "manifest.json").read_text())
        assert manifest["model_file"] == str(smoke_model)
        assert manifest["made_by"]["seed"] == 0 and manifest["made_by"]["size"] == [64, 48]
        assert configs.load_config(run / "config.yaml") == smoke
        assert sorted(path.name for path in (run / "starts").iterdir()) == [f"{stem}.jpg" for stem in STEMS]
        assert sorted(path.name for path in (run / "rounds").iterdir()) == [f"{stem}.1.jpg" for stem in STEMS]
        noted = {stem: files[0].name for stem, files in OutputFolder(painted).noted_inputs().items()}
        assert noted == {stem: f"{stem}.png" for stem in STEMS}

    def test_the_contact_sheet_shows_four_columns(self, painted):
        with Image.open(painted / "_run" / "contact_sheet.jpg") as sheet:
            assert sheet.width > 4 * 64 and sheet.height > 48 + 64 + 48

    def test_an_image_is_what_the_pipeline_paints_for_its_stem(self, painted, smoke_model, original_inputs):
        from jiidm.data.images import load_mask, resize_image
        from jiidm.model.files import load_model

        mask = load_mask(original_inputs.masks / "m1.png", Size(48, 64))
        photo = load_image(original_inputs.masks.parent / "imgs" / "photo1.jpg", Size(48, 64))
        given = pipeline.Input("m1", mask, photo)
        [result] = pipeline.Pipeline(load_model(smoke_model)).stream([given], seed=0)
        image = result.image
        # the way over a JPEG of quality 95 moves single pixels by more
        difference = np.abs(resize_image(image, Size(64, 96)).astype(int) - load_image(painted / "m1.jpg"))
        assert difference.mean() < 3

    def test_which_model_runs_is_said(self, out, inputs, smoke_model, capsys):
        paint(inputs, out, smoke_model)
        assert f"model: {smoke_model} (smoke, 64x48)" in capsys.readouterr().out


@pytest.mark.slow
def test_images_of_full_size_are_held_one_at_a_time(smoke_model, tmp_path):
    """Four masks and photos of 12 megapixels: held until the sheet is drawn, they would take 430 MB more."""
    size = Size(3000, 4000)
    for name in ("labels", "imgs"):
        (tmp_path / name).mkdir()
    images.save_png(tmp_path / "labels" / "m0.png", (np.arange(12_000_000) % 29).astype(np.uint8).reshape(size))
    images.save_jpeg(tmp_path / "imgs" / "photo.jpg", np.full((*size, 3), 120, np.uint8))
    for number in range(1, 4):
        shutil.copy(tmp_path / "labels" / "m0.png", tmp_path / "labels" / f"m{number}.png")
    (tmp_path / "refs.json").write_text(json.dumps({f"m{number}.png": "photo.jpg" for number in range(4)}))
    # not ru_maxrss, which counts what the test's own process had when it started this one
    code = "import sys; from benchmarks.common.duel import memory; from jiidm.cli.main import main; "
    code += "assert main(sys.argv[1:]) == 0; print(1024 * memory('self', 'VmHWM'))"
    given = ["infer", tmp_path / "labels", tmp_path / "refs.json", tmp_path / "out", "--checkpoint", smoke_model]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, given), "--device", "cpu"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert float(done.stdout.splitlines()[-1]) < 600, done.stderr  # MiB; 350 were seen


class TestDecoding:
    """Masks and references are decoded once to check them, and once to use them."""

    @pytest.fixture
    def decoded(self, monkeypatch):
        found = []
        for name in ("mask_array", "photo_array"):
            original = getattr(images, name)

            def spy(image, source, original=original):
                found.append(Path(source).name)
                return original(image, source)

            monkeypatch.setattr(images, name, spy)
        return found

    def test_a_new_folder(self, inputs, smoke_model, tmp_path, decoded):
        assert paint(inputs, tmp_path / "out", smoke_model) == 0
        assert {name: decoded.count(name) for name in INPUT_FILES} == dict.fromkeys(INPUT_FILES, 2)

    def test_a_folder_that_lacks_an_image(self, out, inputs, smoke_model, decoded):
        (out / "m2.jpg").unlink()
        assert paint(inputs, out, smoke_model) == 0
        assert {name: decoded.count(name) for name in INPUT_FILES} == dict.fromkeys(INPUT_FILES, 2)

    def test_a_finished_folder_is_checked_only(self, out, inputs, smoke_model, decoded):
        assert paint(inputs, out, smoke_model) == 0
        assert sorted(decoded) == sorted(INPUT_FILES)


class TestSameImages:
    def test_whatever_the_batch_size(self, painted, inputs, smoke_model, tmp_path):
        for size in (1, 3):
            assert paint(inputs, tmp_path / str(size), smoke_model, "--batch-size", size) == 0
        for stem in STEMS:
            reference = load_image(painted / f"{stem}.jpg")
            for size in (1, 3):
                # one count of an RGB value before JPEG can be a few after it
                assert largest_difference(load_image(tmp_path / str(size) / f"{stem}.jpg"), reference) <= 4

    def test_for_the_same_seed_and_others_for_another(self, painted, inputs, smoke_model, tmp_path):
        assert paint(inputs, tmp_path / "same", smoke_model, "--seed", 0) == 0
        assert paint(inputs, tmp_path / "other", smoke_model, "--seed", 1) == 0
        assert contents(tmp_path / "same") == contents(painted)
        others = contents(tmp_path / "other")
        assert all(others[name] != content for name, content in contents(painted).items())


class TestColourByRegion:
    ROUNDS = "inference.rounds=[{start_timestep: 300, num_steps: 1, color_transfer: region}]"

    def test_the_references_own_masks_decide_and_are_recorded(self, inputs, smoke_model, tmp_path, capsys):
        out, labels = tmp_path / "out", inputs.masks
        for photo in ("photo0", "photo1"):  # the third reference has no mask of its own: the segmenter predicts it
            shutil.copy(labels / "m0.png", labels / f"{photo}.png")
        masks = Path(shutil.copytree(labels, tmp_path / "masks", ignore=shutil.ignore_patterns("photo*")))
        given = inputs._replace(masks=masks)
        assert paint(given, out, smoke_model, "--set", self.ROUNDS) == 0
        assert "1 of 3 references have no mask in labels/" in capsys.readouterr().out
        made_from = json.loads((out / "_run" / "manifest.json").read_text())["made_from"]
        assert made_from["m0"][2] == made_from["m1"][2] == sha256(labels / "photo0.png")
        assert made_from["m2"][2] == f"segmenter {sha256(segmenter.SHIPPED)}"
        assert set(OutputFolder(out).noted_inputs()) == set(STEMS)  # reports find the masks and references
        before = contents(out)
        images.save_png(labels / "photo1.png", np.roll(images.load_mask(labels / "photo1.png"), 20, axis=0))
        assert paint(given, out, smoke_model, "--set", self.ROUNDS) == 0
        assert "another mask of" in capsys.readouterr().out
        assert [name for name, content in contents(out).items() if content != before[name]] == ["m1.jpg"]

    def test_another_colour_transfer_needs_another_folder(self, inputs, smoke_model, tmp_path, refusal):
        given = inputs.command(tmp_path / "out", smoke_model, "--set", self.ROUNDS)
        assert cli.main(given) == 0
        told = refusal([*given[:-1], self.ROUNDS.replace("region", "true")])
        assert "color_transfer (region, now true)" in told

    def test_a_mask_that_is_none_is_refused_before_anything_is_written(self, inputs, smoke_model, tmp_path, refusal):
        masks = Path(shutil.copytree(inputs.masks, tmp_path / "masks"))
        (inputs.masks / "photo1.png").write_bytes(b"no mask")
        given = inputs._replace(masks=masks).command(tmp_path / "out", smoke_model, "--set", self.ROUNDS)
        assert "photo1.png" in refusal(given) and not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_the_released_codes_defects_go_with_it(self, inputs, smoke_model, tmp_path):
        given = ["--set", self.ROUNDS, "--set", "released.jpeg_between_rounds=95"]
        assert paint(inputs, tmp_path / "out", smoke_model, *given) == 0


class TestDemo:
    def test_another_model_repaints_the_demo(self, smoke_model, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(given, "DEMO_IMAGES", 1)
        assert cli.main(["infer", "--checkpoint", str(smoke_model), "--device", "cpu"]) == 0
        first = Path("out/synth_000000.jpg").read_bytes()
        assert cli.main(["infer", "--checkpoint", str(smoke_model), "--device", "cpu", "--seed", "5"]) == 0
        assert "another seed (0, now 5): generating them again" in capsys.readouterr().out
        assert Path("out/synth_000000.jpg").read_bytes() != first

    def test_what_an_earlier_models_rounds_made_goes_with_its_images(self, smoke_model, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(given, "DEMO_IMAGES", 1)
        command = ["infer", "--checkpoint", str(smoke_model), "--device", "cpu"]
        assert cli.main(command) == 0 and list(Path("out/_run/rounds").iterdir())
        assert cli.main([*command, "--set", "inference.rounds=[{start_timestep: 20, num_steps: 2}]"]) == 0
        assert not list(Path("out/_run/rounds").iterdir())
        assert [path.name for path in Path("out/_run/starts").iterdir()] == ["synth_000000.jpg"]

    def test_without_arguments_masks_and_references_are_generated(self, smoke_model, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(given, "DEMO_IMAGES", 2)
        assert cli.main(["infer", "--checkpoint", str(smoke_model), "--device", "cpu"]) == 0
        assert sorted(contents("out")) == ["synth_000000.jpg", "synth_000001.jpg"]
        references = json.loads(Path("out/_run/inputs_64x48/references.json").read_text())
        assert references == {"synth_000000.png": "synth_000001.jpg", "synth_000001.png": "synth_000000.jpg"}
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_a_dry_run_paints_nothing(self, inputs, smoke_model, tmp_path, capsys):
        assert paint(inputs, tmp_path / "out", smoke_model, "--dry-run") == 0
        assert "GiB" in capsys.readouterr().out
        assert contents(tmp_path / "out") == {}


def test_two_processes_at_once_fill_one_folder_as_one_does(painted, original_inputs, smoke_model, tmp_path):
    command = [sys.executable, "-m", "jiidm", *original_inputs.command(tmp_path / "out", smoke_model)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert contents(tmp_path / "out") == contents(painted)
    for folder in ("_run", "_run/starts"):
        assert sorted(os.listdir(tmp_path / "out" / folder)) == sorted(os.listdir(painted / folder))
