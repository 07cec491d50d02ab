"""Commands import nothing from the folder they are run in, whatever is called there like a module."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jiidm.system import doctor

PROJECT = Path(__file__).resolve().parents[2]
NAMES = ("random", "typing", "argparse", "numpy", "yaml", "logging", "json", "cv2", "ldm_jittor")


@pytest.fixture
def working_folder(tmp_path, monkeypatch):
    """Modules and packages that end whoever imports them."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working folder')\n")
    (tmp_path / "jittor").mkdir()
    (tmp_path / "jittor" / "__init__.py").write_text("raise SystemExit('imported from the working folder')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command, **environment):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    env = {**env, "PYTHONPATH": str(PROJECT), **environment}
    return subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, timeout=60)


def test_the_module_imports_nothing_from_there(working_folder):
    for environment in ({}, {"PYTHONSAFEPATH": "1"}):
        done = run("-m", "jiidm", "--help", **environment)
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("usage: jiidm")


def test_in_the_project_itself_the_module_is_the_projects(monkeypatch):
    """A checkout runs without being installed."""
    monkeypatch.chdir(PROJECT)
    done = run("-m", "jiidm", "--help", PYTHONPATH="")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_doctors_processes_import_nothing_from_there(working_folder, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(working_folder))])
    done = doctor.in_python("import random, typing; print(random.__file__)", 60)
    assert done.returncode == 0 and str(working_folder) not in done.stdout
