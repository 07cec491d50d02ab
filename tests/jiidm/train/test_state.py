"""The state files of a stage: the previous one, and what happens when the last is damaged."""

from __future__ import annotations

import os

import numpy as np
import pytest

from jiidm.train.state import load_state, previous_state, remove_state, save_state, steps_done
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError


def save(path, step):
    save_state(path, {"w": np.full(9, step, np.float32)}, {"step": step})


@pytest.fixture
def path(tmp_path):
    """A state of step 2, with that of step 1 before it."""
    for step in (1, 2):
        save(tmp_path / "state.safetensors", step)
    return tmp_path / "state.safetensors"


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def test_the_state_before_the_last_is_kept(path):
    assert load_state(path).metadata == {"step": 2}
    assert previous_state(path).name == "state.previous.safetensors"
    assert checkpoint.load(previous_state(path)).metadata == {"step": 1}
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize("damage", [cut, flip, empty])
def test_a_damaged_state_is_replaced_by_the_previous_one(path, damage, caplog):
    damage(path)
    stored = load_state(path)
    assert stored.metadata == {"step": 1} and (stored.arrays["w"] == 1).all()
    (line,) = caplog.messages
    assert line.startswith(f"{path}: ") and "step 1, takes its place" in line and "\n" not in line
    save(path, 5)
    assert steps_done(path) == 5 and checkpoint.load(previous_state(path)).metadata == {"step": 1}


def test_without_a_sound_state_the_last_is_named(path):
    for file in (path, previous_state(path)):
        cut(file)
    with pytest.raises(CheckpointError, match=r"state\.safetensors: .*remove the file to start this stage anew"):
        load_state(path)
    previous_state(path).unlink()
    with pytest.raises(CheckpointError, match=r"state\.safetensors: .*remove the file"):
        load_state(path)


def test_another_file_in_place_of_a_state_is_refused(tmp_path):
    checkpoint.save(tmp_path / "state.safetensors", {"w": np.zeros(1)}, {"config": {}})
    with pytest.raises(CheckpointError, match=r"state\.safetensors: not the state of a training run"):
        load_state(tmp_path / "state.safetensors")


def test_a_stage_started_anew_forgets_the_previous_state(path):
    path.unlink()
    assert load_state(path) is None and steps_done(path) == 0
    save(path, 1)
    assert [file.name for file in path.parent.iterdir()] == ["state.safetensors"]
    remove_state(path)
    assert list(path.parent.iterdir()) == []


def test_a_file_system_without_links_gets_copies(path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    save(path, 3)
    assert steps_done(path) == 3 and checkpoint.load(previous_state(path)).metadata == {"step": 2}


@pytest.mark.parametrize("call", ["before", "after"])
def test_a_kill_while_a_state_is_saved_leaves_two_files_of_different_states(path, monkeypatch, call):
    """One file under two names would be damaged as one."""
    genuine = checkpoint.save

    def killed(*arguments):
        if call == "after":
            genuine(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        save(path, 3)
    assert not path.samefile(previous_state(path))
    cut(path)
    assert load_state(path).metadata == {"step": 1}
