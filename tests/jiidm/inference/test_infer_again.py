"""`jiidm infer` in a folder that an earlier call has filled, wholly or in part."""

from __future__ import annotations

import json
import shutil

import pytest
from infer_calls import contents, paint

from jiidm import pipeline
from jiidm.config import load as configs
from jiidm.inference.folder import OutputFolder
from ldm_jittor import checkpoint


class TestRerun:
    def test_a_second_call_does_nothing_and_says_so(self, out, inputs, smoke_model, monkeypatch, capsys):
        before = {path: path.stat().st_mtime_ns for path in out.glob("*.jpg")}
        monkeypatch.setattr(pipeline, "Pipeline", lambda *_: pytest.fail("painted again"))
        assert paint(inputs, out, smoke_model) == 0
        assert "nothing to do" in capsys.readouterr().out
        assert {path: path.stat().st_mtime_ns for path in out.glob("*.jpg")} == before

    def test_a_second_call_draws_the_contact_sheet_that_an_interrupted_one_did_not(self, out, inputs, smoke_model):
        sheet = out / "_run" / "contact_sheet.jpg"
        before = sheet.read_bytes()
        sheet.unlink()
        assert paint(inputs, out, smoke_model) == 0
        assert sheet.read_bytes() == before

    def test_the_contact_sheet_does_not_tell_which_images_an_earlier_call_made(self, out, inputs, smoke_model):
        sheet = out / "_run" / "contact_sheet.jpg"
        before = sheet.read_bytes()
        for path in (out / "m1.jpg", sheet):
            path.unlink()
        assert paint(inputs, out, smoke_model) == 0
        assert sheet.read_bytes() == before

    def test_a_damaged_start_costs_its_row_only(self, out, inputs, smoke_model):
        (out / "_run" / "starts" / "m1.jpg").write_bytes(b"half")
        (out / "_run" / "contact_sheet.jpg").unlink()
        assert paint(inputs, out, smoke_model) == 0
        assert (out / "_run" / "contact_sheet.jpg").exists()

    @pytest.mark.parametrize("lost", [["m0"], ["m1"], ["m2"], ["m0", "m2"]], ids="+".join)
    def test_deleted_images_are_remade_to_the_byte_and_only_those(
        self, out, painted, inputs, smoke_model, lost, capsys
    ):
        for stem in lost:
            (out / f"{stem}.jpg").unlink()
        before = {path: path.stat().st_mtime_ns for path in out.glob("*.jpg")}
        assert paint(inputs, out, smoke_model) == 0
        assert f"{len(lost)} images made, 3 in" in capsys.readouterr().out
        assert contents(out) == contents(painted)
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())

    def test_a_remade_image_comes_from_the_batch_it_first_came_from(self, out, inputs, smoke_model, monkeypatch):
        """Sums in another order differ in their last bits, which elsewhere than here would show in the bytes."""
        noise, batches = pipeline.noise_of, []

        def spy(seed, names, *more):
            if names not in batches:
                batches.append(names)
            return noise(seed, names, *more)

        monkeypatch.setattr(pipeline, "noise_of", spy)
        (out / "m1.jpg").unlink()
        assert paint(inputs, out, smoke_model) == 0
        assert batches == [["m0", "m1"]]

    def test_a_damaged_image_is_remade(self, out, painted, inputs, smoke_model):
        (out / "m1.jpg").write_bytes((out / "m1.jpg").read_bytes()[:200])
        assert paint(inputs, out, smoke_model) == 0
        assert contents(out) == contents(painted)

    def test_images_can_be_remade_after_the_run_folder_was_deleted(self, out, painted, inputs, smoke_model):
        shutil.rmtree(out / "_run")
        (out / "m0.jpg").unlink()
        assert paint(inputs, out, smoke_model) == 0
        assert contents(out) == contents(painted)

    def test_an_interrupted_call_goes_on(self, painted, inputs, smoke_model, tmp_path, monkeypatch):
        write, written = OutputFolder.write, []

        def interrupt(*arguments):
            if len(written) == 1:
                raise KeyboardInterrupt
            written.append(write(*arguments))

        monkeypatch.setattr(OutputFolder, "write", interrupt)
        assert paint(inputs, tmp_path / "out", smoke_model) == 130
        assert len(contents(tmp_path / "out")) == 1
        monkeypatch.setattr(OutputFolder, "write", write)
        assert paint(inputs, tmp_path / "out", smoke_model) == 0
        assert contents(tmp_path / "out") == contents(painted)

    @pytest.mark.parametrize(
        "change, key",
        [
            (["--seed", "1"], "seed"),
            (["--set", "inference.rounds=[{start_timestep: 9, num_steps: 2}]"], "inference"),
            (["--set", "inference.jpeg_quality=75"], "inference"),
            (["--set", "data.size=[128, 96]"], "size"),
            (["--set", "schedule.kind=cosine"], "schedule"),
            (["--set", "autoencoder.latent_scale=0.5"], "autoencoder"),
        ],
        ids=lambda value: value[-1] if isinstance(value, list) else None,
    )
    def test_other_settings_need_another_folder(self, out, inputs, smoke_model, change, key, refusal):
        (out / "m1.jpg").unlink()
        line = refusal(inputs.command(out, smoke_model, *change))
        assert str(out) in line and key in line
        assert not (out / "m1.jpg").exists()

    def test_a_given_config_leaves_the_weights_their_latent_scale(self, inputs, smoke_model, tmp_path):
        stored = checkpoint.load(smoke_model)
        stored.metadata["config"]["autoencoder"]["latent_scale"] = 0.5
        checkpoint.save(tmp_path / "scaled.safetensors", stored.arrays, stored.metadata)
        for name, options in (("own", []), ("given", ["--config", "smoke"])):
            assert paint(inputs, tmp_path / name, tmp_path / "scaled.safetensors", *options) == 0
        assert contents(tmp_path / "given") == contents(tmp_path / "own")

    def test_so_does_another_model(self, out, inputs, smoke, smoke_model, tmp_path, refusal):
        other = tmp_path / "other.safetensors"
        stored = checkpoint.load(smoke_model)
        changed = {**stored.arrays, "unet.out.2.bias": stored.arrays["unet.out.2.bias"] + 1}
        checkpoint.save(other, changed, stored.metadata)
        line = refusal(inputs.command(out, other))
        assert str(out) in line and "model" in line

    def test_another_batch_size_does_not(self, out, inputs, smoke_model):
        assert paint(inputs, out, smoke_model, "--batch-size", 3) == 0

    def test_fast_images_are_made_by_other_rounds_and_do_not_mix_with_others(
        self, painted, inputs, smoke, smoke_model, tmp_path, refusal
    ):
        fast = ["--fast", "--set", "inference.fast_steps=2"]
        assert paint(inputs, tmp_path / "fast", smoke_model, *fast) == 0
        used = configs.load_config(tmp_path / "fast" / "_run" / "config.yaml").inference.rounds
        assert used == configs.fast(configs.override(smoke, fast[2:])).inference.rounds != smoke.inference.rounds
        images = contents(tmp_path / "fast")
        assert all(images[name] != content for name, content in contents(painted).items())
        line = refusal(inputs.command(tmp_path / "fast", smoke_model))
        assert "another inference" in line and contents(tmp_path / "fast") == images

    def test_fast_is_refused_before_anything_is_written(self, inputs, smoke_model, tmp_path, refusal):
        assert "fast_steps" in refusal(inputs.command(tmp_path / "out", smoke_model, "--fast"))
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"made_by": []}', '{"made_by": null}'])
    def test_a_manifest_that_is_none_is_refused(self, out, inputs, smoke_model, text, refusal):
        (out / "_run" / "manifest.json").write_text(text)
        assert "manifest.json" in refusal(inputs.command(out, smoke_model))


class TestChangedInputs:
    def test_an_edited_mask_or_reference_makes_its_images_again_to_the_byte_and_only_those(
        self, out, inputs, smoke_model, tmp_path, capsys
    ):
        before = contents(out)
        shutil.copy(inputs.masks / "m0.png", inputs.masks / "m2.png")
        assert paint(inputs, out, smoke_model) == 0
        told = capsys.readouterr().out
        assert f"holds 1 images made with other files, the first, m2.jpg, with another mask than {inputs.masks}" in told
        assert [name for name, content in contents(out).items() if content != before[name]] == ["m2.jpg"]
        photos = inputs.masks.parent / "imgs"
        shutil.copy(photos / "photo2.jpg", photos / "photo0.jpg")
        assert paint(inputs, out, smoke_model) == 0
        assert "m0.jpg, with another reference than" in capsys.readouterr().out
        assert paint(inputs, tmp_path / "new", smoke_model) == 0
        assert contents(out) == contents(tmp_path / "new")

    def test_references_that_changed_places_make_all_images_again(self, out, inputs, smoke_model, capsys):
        before = contents(out)
        inputs.references.write_text(json.dumps({f"m{n}.png": f"photo{(n + 1) % 3}.jpg" for n in range(3)}))
        assert paint(inputs, out, smoke_model) == 0
        told = capsys.readouterr().out
        assert "holds 3 images made with other files" in told and "nothing to do" not in told
        assert all(content != before[name] for name, content in contents(out).items())

    def test_an_input_that_changes_meanwhile_is_told_and_its_image_not_written(
        self, inputs, smoke_model, tmp_path, monkeypatch, capsys
    ):
        stream = pipeline.Pipeline.stream

        def changing(*arguments, **options):
            for result in stream(*arguments, **options):
                if result.name == "m1":
                    shutil.copy(inputs.masks / "m0.png", inputs.masks / "m1.png")
                yield result

        monkeypatch.setattr(pipeline.Pipeline, "stream", changing)
        assert paint(inputs, tmp_path / "out", smoke_model) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith("error: ") and "m1.png: changed while it was in use; give the same" in told
        assert list(contents(tmp_path / "out")) == ["m0.jpg"]
