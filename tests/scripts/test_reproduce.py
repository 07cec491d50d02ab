"""`examples/reproduce.sh` from photos to the zip, but for the self-test, which has tests of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT, LOG = PROJECT / "examples" / "reproduce.sh", PROJECT / "docs" / "reproduce.log"
INTERPRETER = f"""#!/usr/bin/env bash
[[ $* == *'jiidm doctor'* ]] || exec {sys.executable} "$@"
"""


@pytest.fixture
def reproduce(tmp_path):
    """Runs the script in a folder of the test, with a stand-in for Python; gives what it printed."""
    interpreter = tmp_path / "python"
    interpreter.write_text(INTERPRETER)
    interpreter.chmod(0o755)
    own = {"PYTHON": str(interpreter), "PYTHONPATH": str(PROJECT), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run() -> str:
        command = ["bash", SCRIPT, tmp_path / "work"]
        done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    return run


def commands(printed: str, python: str, folder: str) -> list[str]:
    lines = [line for line in printed.splitlines() if line.startswith("$ ")]
    return [line.replace(python, "PYTHON").replace(folder, "FOLDER") for line in lines]


def test_it_ends_with_the_zip_of_every_validation_mask(reproduce, tmp_path):
    printed, work = reproduce(), tmp_path / "work"
    stems = (work / "split" / "val.txt").read_text().split()
    with ZipFile(work / "out.zip") as submission:
        assert sorted(Path(name).stem for name in submission.namelist() if name.endswith(".jpg")) == sorted(stems)
    scores = json.loads((work / "out" / "_run" / "scores.json").read_text())
    assert set(scores["images"]) == set(stems) and (work / "out" / "_run" / "leaderboard.html").exists()
    logged = commands(LOG.read_text(), ".venv/bin/python", "reproduce")
    assert commands(printed, str(tmp_path / "python"), str(work)) == logged
