"""A run goes on with the photos and masks that it was started with, whatever their names."""

from __future__ import annotations

import shutil

import pytest

from jiidm.data.pairs import find_pairs, read_split
from jiidm.errors import InputError
from jiidm.train import run
from jiidm.train.run import train


@pytest.fixture
def root(landscapes, tmp_path):
    return shutil.copytree(landscapes, tmp_path / "data")


def _killed(*_):
    raise KeyboardInterrupt


@pytest.fixture
def started(root, smoke, tmp_path, monkeypatch):
    """A run that was killed before its first step; a call that gets that far again is killed there."""
    monkeypatch.setattr(run, "train_autoencoder", _killed)
    monkeypatch.setattr(run, "train_segmenter", _killed)
    with pytest.raises(KeyboardInterrupt):
        train(smoke, root, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("segmenter", [False, True])
@pytest.mark.parametrize("name", ["imgs/synth_000003.jpg", "labels/synth_000003.png"])
def test_a_changed_photo_or_mask_is_named_before_the_first_step(root, started, smoke, tmp_path, name, segmenter):
    folder, call = (tmp_path / "segmenter", run.train_segmenter_run) if segmenter else (started, train)
    with pytest.raises(KeyboardInterrupt):
        call(smoke, root, folder)
    content = (root / name).read_bytes()
    shutil.copy((root / name).with_stem("synth_000001"), root / name)
    with pytest.raises(InputError) as caught:
        call(smoke, root, folder)
    told = str(caught.value)
    assert told.startswith(f"{folder}/split/hashes.json: made with another {name} (")
    assert told.endswith(f"; restore it in {root}, or choose another --run folder")
    (root / name).write_bytes(content)
    with pytest.raises(KeyboardInterrupt):
        call(smoke, root, folder)


def test_new_files_and_another_place_do_not_matter(root, started, smoke, tmp_path):
    moved = root.rename(tmp_path / "moved")
    for name in ("imgs/synth_000003.jpg", "labels/synth_000003.png"):
        shutil.copy(moved / name, (moved / name).with_stem("new"))
    with pytest.raises(KeyboardInterrupt):
        train(smoke, moved, started)


def test_the_run_of_an_older_version_goes_on_and_says_what_it_takes_for_granted(root, started, smoke, caplog):
    caplog.set_level("INFO", "jiidm")
    record = started / "split" / "hashes.json"
    before = record.read_bytes()
    record.unlink()
    with pytest.raises(KeyboardInterrupt):
        train(smoke, root, started)
    assert f"{started / 'split'}: has no hashes yet" in caplog.text and record.read_bytes() == before


def test_a_pair_that_has_come_since_is_left_out_and_told(root, started, smoke, caplog):
    for name in ("imgs/synth_000000.jpg", "labels/synth_000000.png"):
        shutil.copy(root / name, (root / name).with_stem("new"))
    with pytest.raises(KeyboardInterrupt):
        train(smoke, root, started)
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == f"{root}: 1 pairs have come since this run was started, the first new; it leaves them out"


def test_a_split_that_was_not_finished_is_made_again(smoke, landscapes, tmp_path, monkeypatch):
    (tmp_path / "run" / "split").mkdir(parents=True)
    (tmp_path / "run" / "split" / "train.txt").write_text("gone\n")
    monkeypatch.setattr(run, "train_autoencoder", _killed)
    with pytest.raises(KeyboardInterrupt):
        train(smoke, landscapes, tmp_path / "run")
    training, validation = read_split(tmp_path / "run" / "split", find_pairs(landscapes))
    assert len(training) + len(validation) == 6
