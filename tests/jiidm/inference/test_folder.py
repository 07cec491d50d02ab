from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import die_while_writing

from jiidm.config import load as configs
from jiidm.data import images
from jiidm.data.identity import made_by
from jiidm.errors import InputError
from jiidm.inference.folder import OutputFolder
from jiidm.inference.inputs import Job
from jiidm.size import Size
from ldm_jittor.files import atomic_path

STEMS = ("a", "b", "c")


JOBS = [Job(Path(f"masks/{stem}.png"), Path("photo.jpg"), Size(24, 32), (f"{stem}1", f"{stem}2")) for stem in STEMS]
"""The files are not there: a folder is checked without them."""


@pytest.fixture
def out(tmp_path):
    """A finished output folder."""
    folder = OutputFolder(tmp_path / "out")
    folder.prepare()
    for stem in STEMS:
        folder.write(stem, photo(), quality=95)
    return folder.path


@pytest.fixture
def record(smoke):
    """What makes images by the smoke config."""
    return made_by("a" * 64, smoke, seed=3)


def photo(height=24, width=32):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_prepare_makes_the_folder_and_its_run_folder(tmp_path):
    OutputFolder(tmp_path / "deep" / "out").prepare()
    assert os.listdir(tmp_path / "deep" / "out") == ["_run"]
    OutputFolder(tmp_path / "deep" / "out").prepare()


@pytest.mark.parametrize("blocker", ["out", "out/_run"])
def test_a_file_in_the_way_is_refused(tmp_path, blocker):
    (tmp_path / blocker).parent.mkdir(exist_ok=True)
    (tmp_path / blocker).write_text("x")
    with pytest.raises(InputError, match="out.*in the way"):
        OutputFolder(tmp_path / "out").prepare()
    assert (tmp_path / blocker).read_text() == "x"


@pytest.mark.parametrize("call", ["os.listdir", "tempfile.TemporaryFile", "pathlib.Path.mkdir"])
def test_a_folder_without_permission_is_refused(tmp_path, call, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(call, refuse)  # a changed file mode would not stop a superuser
    with pytest.raises(InputError, match="out: .*Permission denied"):
        OutputFolder(tmp_path / "out").prepare()


def test_prepare_removes_what_a_killed_run_left(out):
    die_while_writing(out / "a.jpg")
    assert len(os.listdir(out)) == 5
    (out / ".keep.jpg").write_bytes(b"x")
    OutputFolder(out).prepare()
    assert sorted(os.listdir(out)) == [".keep.jpg", "_run", "a.jpg", "b.jpg", "c.jpg"]


def test_a_finished_folder_is_faultless_and_has_nothing_pending(out):
    assert OutputFolder(out).faults(JOBS) == [] and OutputFolder(out).pending(JOBS) == []


def _delete(path):
    path.unlink()
    return "no such file"


def _empty(path):
    path.write_bytes(b"")
    return "empty file"


def _truncate(path):
    os.truncate(path, path.stat().st_size // 2)
    return "cannot be read"


def _png_inside(path):
    Image.fromarray(photo()).save(path, format="PNG")
    return "not a readable JPEG"


def _gray(path):
    Image.new("L", (32, 24)).save(path)
    return "mode L"


def _wrong_size(path):
    images.save_jpeg(path, photo(32, 24))
    return "size 24x32, must be 32x24"


def _turned(path):
    exif = Image.Exif()
    exif[0x0112] = 3  # by 180 degrees, which leaves the size as it is
    Image.fromarray(photo()).save(path, exif=exif)
    return "turned by EXIF orientation 3"


@pytest.mark.parametrize("damage", [_delete, _empty, _truncate, _png_inside, _gray, _wrong_size, _turned])
def test_each_damaged_output_is_named_and_made_again(out, damage):
    message = damage(out / "b.jpg")
    faults = OutputFolder(out).faults(JOBS)
    assert faults[0].startswith(f"{out / 'b.jpg'}: ") and message in faults[0]
    assert OutputFolder(out).pending(JOBS) == JOBS[1:2]
    OutputFolder(out).write("b", photo())
    assert OutputFolder(out).faults(JOBS) == []


def test_pending_keeps_the_order_of_the_jobs(tmp_path):
    assert OutputFolder(tmp_path / "nothing").pending(JOBS[::-1]) == JOBS[::-1]


@pytest.mark.parametrize("name", ["d.jpg", "a.png", "a.JPG", "b.jpeg"])
def test_stray_images_are_reported(out, name):
    images.save_png(out / f"{name}.png", photo())
    os.rename(out / f"{name}.png", out / name)
    faults = OutputFolder(out).faults(JOBS)
    assert faults == [f"{out / name}: an image that belongs to no mask"]
    (out / name).unlink()


def test_files_of_another_kind_are_left_alone(out):
    (out / "notes.txt").write_text("x")
    images.save_png(out / "_run" / "contact_sheet.png", photo())
    assert OutputFolder(out).faults(JOBS) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: cannot be listed"):
        OutputFolder(tmp_path / "nowhere").faults(JOBS)


def test_writing_is_deterministic(out):
    before = (out / "a.jpg").read_bytes()
    OutputFolder(out).write("a", photo())
    assert (out / "a.jpg").read_bytes() == before
    OutputFolder(out).write("a", photo(), quality=50)
    assert len((out / "a.jpg").read_bytes()) < len(before)


class TestClaim:
    """What a folder's images were made by has to be what makes the next ones."""

    def test_a_new_folder_and_one_without_manifest_are_anyones(self, tmp_path, out, record):
        OutputFolder(tmp_path / "new").claim(record, JOBS)
        OutputFolder(out).claim(record, JOBS)
        assert (tmp_path / "new" / "_run").is_dir() and OutputFolder(out).pending(JOBS) == []

    def test_the_same_thing_may_go_on(self, out, record, smoke):
        OutputFolder(out).write_manifest(record, JOBS, Path("model.safetensors"), smoke)
        OutputFolder(out).claim(record, JOBS)
        assert OutputFolder(out).pending(JOBS) == []

    def test_another_thing_is_told_by_what_differs(self, out, record, smoke):
        OutputFolder(out).write_manifest(record, JOBS, Path("model.safetensors"), smoke)
        with pytest.raises(InputError) as caught:
            OutputFolder(out).claim(record | {"seed": 4, "from_noise": True}, JOBS)
        told = "made with another seed (3, now 4) and 1 more; choose another output folder"
        assert str(caught.value) == f"{out}: {told}"

    def test_with_repaint_the_images_of_another_thing_go(self, out, record, smoke, caplog):
        caplog.set_level("INFO", "jiidm")
        OutputFolder(out).write_manifest(record, JOBS, Path("model.safetensors"), smoke)
        OutputFolder(out).claim(record | {"seed": 4}, JOBS, remake=True)
        assert "another seed (3, now 4): generating them again" in caplog.text
        assert os.listdir(out) == ["_run"]

    def test_images_of_no_mask_are_refused(self, out, record):
        with pytest.raises(InputError, match=r"a.jpg: an image that belongs to no mask \(and 1 more\)"):
            OutputFolder(out).claim(record, JOBS[2:])

    def test_the_manifest_is_json_beside_the_config(self, out, record, smoke):
        OutputFolder(out).write_manifest(record, JOBS, Path("runs/model.safetensors"), smoke)
        manifest = json.loads((out / "_run" / "manifest.json").read_text())
        made_from = {stem: [f"{stem}1", f"{stem}2"] for stem in STEMS}
        assert manifest == {"made_by": record, "model_file": "runs/model.safetensors", "made_from": made_from}
        assert configs.load_saved(out / "_run" / "config.yaml") == smoke
        assert sorted(os.listdir(out / "_run")) == ["config.yaml", "manifest.json"]


class TestOthersAtWork:
    """Several processes share a folder. Each has claimed it before any of them wrote its manifest."""

    @pytest.fixture
    def other(self, tmp_path, record, smoke):
        """Another process, which has begun to paint."""
        folder = OutputFolder(tmp_path / "shared")
        folder.claim(record, JOBS)
        folder.write_manifest(record, JOBS, Path("model.safetensors"), smoke)
        return folder

    def test_the_same_thing_may_be_made_by_both(self, other, record, smoke):
        folder = OutputFolder(other.path)
        folder.write_manifest(record, JOBS, Path("model.safetensors"), smoke)
        for process in (folder, other, folder):
            process.check_claim(record, JOBS)

    def test_another_thing_is_refused_before_it_is_made(self, other, record, smoke):
        before = (other.run_folder / "manifest.json").read_bytes()
        with pytest.raises(InputError, match=r"another seed \(3, now 4\); choose another output folder"):
            OutputFolder(other.path).write_manifest(record | {"seed": 4}, JOBS, Path("model.safetensors"), smoke)
        assert (other.run_folder / "manifest.json").read_bytes() == before

    def test_images_of_other_files_stop_the_first_process(self, other, record):
        other.check_claim(record, JOBS)
        OutputFolder(other.path).claim(record, [dataclasses.replace(JOBS[0], made_from=("new", "new")), *JOBS[1:]])
        with pytest.raises(InputError, match="shared: another process makes other images here"):
            other.check_claim(record, JOBS)

    def test_temporary_files_of_a_process_at_work_stay(self, other, record):
        with atomic_path(other.image("a")) as temporary:
            OutputFolder(other.path).claim(record, JOBS)
            assert temporary.exists()


class TestMadeFrom:
    """An image belongs to the content of its mask and its reference, whatever their names."""

    @pytest.fixture
    def out(self, out, record, smoke):
        OutputFolder(out).write_manifest(record, JOBS, Path("model.safetensors"), smoke)
        return out

    @pytest.mark.parametrize(
        ("made_from", "told"),
        [
            (("new", "b2"), "another mask than masks/b.png"),
            (("b1", "new"), "another reference than photo.jpg"),
        ],
    )
    def test_the_image_of_another_mask_or_reference_goes_and_only_that(self, out, record, caplog, made_from, told):
        caplog.set_level("INFO", "jiidm")
        jobs = [JOBS[0], dataclasses.replace(JOBS[1], made_from=made_from), JOBS[2]]
        OutputFolder(out).claim(record, jobs)
        assert OutputFolder(out).pending(jobs) == [jobs[1]]
        made = "1 images made with other files, the first, b.jpg, with"
        assert caplog.messages == [f"{out} holds {made} {told}: generating them again"]

    def test_a_references_own_mask_counts_image_by_image_and_not_for_scoring(self, out, record, smoke, caplog):
        caplog.set_level("INFO", "jiidm")
        jobs = [dataclasses.replace(job, made_from=(*job.made_from, "own")) for job in JOBS]
        OutputFolder(out).claim(record, jobs)  # of which nothing was recorded
        assert OutputFolder(out).pending(jobs) == []
        jobs[1] = dataclasses.replace(jobs[1], made_from=("b1", "b2", "segmenter 1"))
        OutputFolder(out).claim(record, jobs)
        assert OutputFolder(out).pending(jobs) == jobs[1:2]
        assert "the first, b.jpg, with another mask of photo.jpg" in caplog.messages[-1]
        assert OutputFolder(out).outdated(JOBS) == []

    def test_the_next_image_belongs_to_the_new_files_though_the_call_was_killed_before(self, out, record):
        jobs = [dataclasses.replace(job, made_from=("new", "new")) for job in JOBS]
        OutputFolder(out).claim(record, jobs)
        OutputFolder(out).write("a", photo())
        OutputFolder(out).claim(record, jobs)
        assert OutputFolder(out).pending(jobs) == jobs[1:]
        OutputFolder(out).claim(record, JOBS)
        assert OutputFolder(out).pending(JOBS) == JOBS

    def test_images_of_an_older_version_stay_are_told_and_are_recorded(self, out, record, caplog):
        caplog.set_level("INFO", "jiidm")
        path = out / "_run" / "manifest.json"
        manifest = json.loads(path.read_text())
        del manifest["made_from"]
        path.write_text(json.dumps(manifest))
        OutputFolder(out).claim(record, JOBS)
        held = "3 images of unrecorded masks and references, the first a.jpg"
        assert caplog.messages == [f"{out} holds {held}: keeping them as they are"]
        OutputFolder(out).claim(record, JOBS)
        assert len(caplog.messages) == 1 and OutputFolder(out).pending(JOBS) == []
        jobs = [dataclasses.replace(job, made_from=("new", "new")) for job in JOBS]
        OutputFolder(out).claim(record, jobs)
        assert OutputFolder(out).pending(jobs) == jobs

    @pytest.mark.parametrize("made_from", [3, [], {"a": 3}, {"a": ["b"]}, {"a": list("bcde")}, {"a": [1, 2]}])
    def test_a_damaged_record_is_told(self, out, record, made_from):
        path = out / "_run" / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"made_from": made_from}))
        with pytest.raises(InputError, match="manifest.json: not a manifest"):
            OutputFolder(out).claim(record, JOBS)
