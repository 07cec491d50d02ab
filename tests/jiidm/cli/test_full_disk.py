"""A disk that fills up in the middle of a command: one line that names the file, and the finished work stays whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from jiidm.cli import main as cli
from jiidm.data.images import load_image, load_mask, save_jpeg
from ldm_jittor import files

FULL = "cannot be written (No space left on device)"


@pytest.fixture
def disk_of(monkeypatch):
    """Lets so many files come to their end, from then on. The next ones meet a full disk."""

    def limit(count: int) -> None:
        written: list[Path] = []
        sync = files._sync

        def full(path):
            if path.is_file():
                written.append(path)
                if len(written) > count:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync(path)

        monkeypatch.setattr(files, "_sync", full)

    return limit


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def told(capsys) -> str:
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ") and line.endswith(FULL), line
    return line


def test_infer_keeps_the_images_that_it_has_made(inputs, smoke_model, tmp_path, disk_of, capsys):
    disk_of(8)  # manifest, config, inputs; a start, a round and their image; a start, a round
    assert cli.main(inputs.command(tmp_path / "out", smoke_model)) == 2
    assert str(tmp_path / "out" / "m1.jpg") in told(capsys)
    names = {path.name for path in files_of(tmp_path / "out")}
    made = {"m0.jpg", "m1.jpg", "m0.1.jpg", "m1.1.jpg"}  # the latter three in _run
    assert names == {"manifest.json", "config.yaml", "inputs.json", *made}
    assert not (tmp_path / "out" / "m1.jpg").exists()
    assert load_image(tmp_path / "out" / "m0.jpg").shape == (48, 64, 3)


def test_synth_keeps_the_landscapes_that_it_has_made(tmp_path, disk_of, capsys):
    disk_of(4)  # dataset.json, a pair, a photo
    assert cli.main(["data", "synth", str(tmp_path), "--count", "4", "--size", "64x48"]) == 2
    assert str(tmp_path / "labels" / "synth_000001.png") in told(capsys)
    assert load_mask(tmp_path / "labels" / "synth_000000.png").shape == (48, 64)
    assert not [path for path in files_of(tmp_path) if ".tmp" in path.name]


@pytest.mark.parametrize("command", ["export", "convert", "average"])
def test_weights_are_written_whole_or_not_at_all(command, smoke_model, tmp_path, disk_of, capsys):
    target = tmp_path / "new.safetensors"
    sources = [smoke_model, smoke_model] if command == "average" else [smoke_model]
    disk_of(0)
    given = [command, *sources, *(["--out"] if command == "average" else []), target]
    assert cli.main([str(word) for word in given]) == 2
    assert str(target) in told(capsys) and list(tmp_path.iterdir()) == []


def test_encode_keeps_the_latents_that_it_has_made(inputs, smoke_model, tmp_path, disk_of, capsys, landscapes):
    disk_of(3)  # the record, two pairs
    given = ["data", "encode", landscapes, tmp_path / "latents", "--checkpoint", smoke_model, "--device", "cpu"]
    assert cli.main([str(word) for word in given]) == 2
    assert "synth_000002.npz" in told(capsys)
    assert [path.name for path in files_of(tmp_path / "latents")] == [
        "latents.json",
        "synth_000000.npz",
        "synth_000001.npz",
    ]


def test_submit_writes_no_half_of_a_zip(tmp_path, disk_of, capsys):
    out = tmp_path / "out"
    out.mkdir()
    save_jpeg(out / "m0.jpg", np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "refs.json").write_text('{"m0.png": "photo.jpg"}')
    disk_of(0)
    given = ["submit", out, tmp_path / "refs.json", "--size", "64x48", "--select", "1"]
    assert cli.main([str(word) for word in given]) == 2
    assert str(tmp_path / "out.zip") in told(capsys)
    assert [path.name for path in files_of(tmp_path)] == ["m0.jpg", "refs.json"]
