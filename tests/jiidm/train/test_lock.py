"""The lock of a run folder: who is refused, and who is not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from processes import PROJECT, die_while_writing

from jiidm.errors import InputError
from jiidm.train.lock import LOCK_FILE, occupied

HOLD = """
import os, sys
from pathlib import Path
from jiidm.train.lock import occupied
with occupied(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
    os._exit(1)  # as a killed process; by a signal, Jittor in the parent would end the tests
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in `tmp_path`."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    if process.poll() is None:
        process.communicate()


@pytest.mark.parametrize("command", [["train"], ["train", "segmenter"]])
def test_a_second_training_in_a_run_folder_is_refused(holder, tmp_path, refusal, command):
    before = sorted(path.name for path in tmp_path.iterdir())
    line = refusal([*command, "--config", "smoke", "--run", tmp_path, "--device", "cpu"])
    assert f"{tmp_path}: process {holder.pid} on " in line and "another --run folder" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_lock_of_a_killed_process_does_not_matter(holder, tmp_path):
    holder.communicate()
    with occupied(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / LOCK_FILE).read_text()


def test_a_folder_is_free_after_a_training_that_failed(tmp_path):
    with pytest.raises(InputError, match="diverged"), occupied(tmp_path):
        raise InputError("diverged")
    with occupied(tmp_path):
        pass


def test_what_a_killed_training_had_half_written_is_removed(tmp_path):
    places = ("state.safetensors", "checkpoints/a.safetensors", "latents/0a1b/a.npz")
    for path in (tmp_path / place for place in places):
        path.parent.mkdir(parents=True, exist_ok=True)
        die_while_writing(path)
    with occupied(tmp_path):
        files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [LOCK_FILE]
