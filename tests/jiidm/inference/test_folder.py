from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jiidm.data import images
from jiidm.errors import InputError
from jiidm.inference import folder as submission

STEMS = ("a", "b", "c")


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for stem in STEMS:
        images.save_png(folder / f"{stem}.png", np.zeros((24, 32), np.uint8))
    return sorted(folder.iterdir())


@pytest.fixture
def out(tmp_path, masks):
    """A finished output folder."""
    submission.prepare(tmp_path / "out")
    for mask in masks:
        submission.write(tmp_path / "out", mask.stem, photo(), quality=95)
    return tmp_path / "out"


def photo(height=24, width=32):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_prepare_makes_the_folder_and_its_run_folder(tmp_path):
    assert submission.prepare(tmp_path / "deep" / "out") == tmp_path / "deep" / "out" / "_run"
    assert os.listdir(tmp_path / "deep" / "out") == ["_run"]
    submission.prepare(tmp_path / "deep" / "out")


@pytest.mark.parametrize("blocker", ["out", "out/_run"])
def test_a_file_in_the_way_is_refused(tmp_path, blocker):
    (tmp_path / blocker).parent.mkdir(exist_ok=True)
    (tmp_path / blocker).write_text("x")
    with pytest.raises(InputError, match="out.*in the way"):
        submission.prepare(tmp_path / "out")
    assert (tmp_path / blocker).read_text() == "x"


@pytest.mark.parametrize("call", ["os.listdir", "tempfile.TemporaryFile", "pathlib.Path.mkdir"])
def test_a_folder_without_permission_is_refused(tmp_path, call, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(call, refuse)  # a changed file mode would not stop a superuser
    with pytest.raises(InputError, match="out: .*Permission denied"):
        submission.prepare(tmp_path / "out")


def test_prepare_removes_what_a_killed_run_left(out):
    code = (
        "import os, sys; from ldm_jittor import files; a = files.atomic_path(sys.argv[1]); a.__enter__(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(out / "a.jpg")])
    assert len(os.listdir(out)) == 5
    (out / ".keep.jpg").write_bytes(b"x")
    submission.prepare(out)
    assert sorted(os.listdir(out)) == [".keep.jpg", "_run", "a.jpg", "b.jpg", "c.jpg"]


def test_a_finished_folder_is_faultless_and_has_nothing_pending(out, masks):
    assert submission.check(out, masks) == [] and submission.pending(masks, out) == []


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
def test_each_damaged_output_is_named_and_made_again(out, masks, damage):
    message = damage(out / "b.jpg")
    faults = submission.check(out, masks)
    assert faults[0].startswith(f"{out / 'b.jpg'}: ") and message in faults[0]
    assert [mask.stem for mask in submission.pending(masks, out)] == ["b"]
    submission.write(out, "b", photo())
    assert submission.check(out, masks) == []


def test_pending_keeps_the_order_of_the_masks(tmp_path, masks):
    assert submission.pending(masks[::-1], tmp_path / "nothing") == masks[::-1]


@pytest.mark.parametrize("name", ["d.jpg", "a.png", "a.JPG", "b.jpeg"])
def test_stray_images_are_reported(out, masks, name):
    images.save_png(out / f"{name}.png", photo())
    os.rename(out / f"{name}.png", out / name)
    faults = submission.check(out, masks)
    assert faults == [f"{out / name}: an image that belongs to no mask"]
    (out / name).unlink()


def test_files_of_another_kind_are_left_alone(out, masks):
    (out / "notes.txt").write_text("x")
    images.save_png(out / "_run" / "contact_sheet.png", photo())
    assert submission.check(out, masks) == []


def test_a_missing_folder_or_mask_is_an_input_error(out, masks, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        submission.check(tmp_path / "nowhere", masks)
    masks[0].write_bytes(b"")
    with pytest.raises(InputError, match="a.png"):
        submission.pending(masks, out)


def test_writing_is_deterministic(out):
    before = (out / "a.jpg").read_bytes()
    assert submission.write(out, "a", photo()) == out / "a.jpg"
    assert (out / "a.jpg").read_bytes() == before
    submission.write(out, "a", photo(), quality=50)
    assert len((out / "a.jpg").read_bytes()) < len(before)


def test_the_manifest_is_json_in_the_run_folder(out, tmp_path):
    path = submission.write_manifest(out, {"seed": 3, "masks": tmp_path})
    assert path == out / "_run" / "manifest.json"
    assert json.loads(path.read_text()) == {"seed": 3, "masks": str(tmp_path)}
    assert os.listdir(out / "_run") == ["manifest.json"]
