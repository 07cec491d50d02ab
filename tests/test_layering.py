"""The rules of the house that no single module can test: who imports whom, what an import does, how long a file is."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
KIT = sorted((PROJECT / "jiidm").glob("*.py"))
CORE = sorted((PROJECT / "ldm_jittor").glob("*.py"))
# what `--help`, the set-up scripts and the checks before a run may import
WITHOUT_JITTOR = [
    *(
        "errors",
        "files",
        "labels",
        "color",
        "config",
        "config_sections",
        "seeding",
        "images",
        "data",
        "references",
        "submission",
        "report",
    ),
    *("runtime", "doctor", "runlog", "infer", "cli", "commands", "synthetic", "synthetic_canvas", "synthetic_nature"),
    *("metrics", "scorecard", "submit", "compare", "commands_scores", "bootstrap", "held_out"),
    *("commands_ablation",),
    *("commands_weights", "synthetic_objects", "synthetic_scenes", "synthetic_style", "synthetic_terrain"),
]


def imported(path):
    """Names of all modules a file imports, those within functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path):
    return {name.split(".")[0] for name in imported(path)}


def run_python(code, folder, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_there_is_something_to_look_at():
    assert len(KIT) > 20 and len(CORE) > 8
    assert "jiidm.errors" in imported(PROJECT / "jiidm" / "config.py")
    assert {f"{name}.py" for name in WITHOUT_JITTOR} <= {path.name for path in KIT}


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_core_knows_arrays_and_modules_only(path):
    assert not packages(path) & {"jiidm", "yaml", "argparse", "PIL", "cv2", "tqdm", "matplotlib"}


def test_the_cores_own_order():
    """ops -> layers -> autoencoder, unet; schedules -> denoiser -> samplers; schedules -> losses; the rest alone."""
    allowed = {
        "__init__": set(),
        "ops": set(),
        "layers": {"ops"},
        "schedules": set(),
        "ema": set(),
        "unpickle": set(),
        "foreign": {"unpickle"},
        "checkpoint": {"foreign"},
        "averaging": {"checkpoint"},
        "convert": set(),
        "autoencoder": {"layers", "ops"},
        "recompute": set(),
        "thumbnail": {"autoencoder", "layers"},
        "unet": {"layers", "recompute"},
        "denoiser": {"schedules", "unet"},
        "samplers": {"denoiser", "schedules"},
        "losses": {"schedules"},
    }
    for path in CORE:
        ours = {name.split(".")[1] for name in imported(path) if name.startswith("ldm_jittor.")}
        assert ours <= allowed[path.stem], path.stem


@pytest.mark.parametrize("name", ["labels", "color", "config_sections", "config", "errors", "seeding", "runtime"])
def test_the_kits_ground_floor_imports_nothing_of_ours(name):
    path = PROJECT / "jiidm" / f"{name}.py"
    ours = {module for module in imported(path) if module.split(".")[0] in ("jiidm", "ldm_jittor")}
    assert {module for module in ours if not module.startswith(("jiidm.errors", "jiidm.config_sections"))} == set()


@pytest.mark.parametrize("path", KIT + CORE, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_no_module_acts_when_imported(path):
    """Top-level statements define names; nothing is called for its effect."""
    if path.stem == "__main__":
        return
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        defines = isinstance(
            node,
            (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign),
        )
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert defines or docstring, f"{path.name}:{node.lineno}"


def test_modules_import_without_jittor_and_without_a_trace(tmp_path):
    code = f"""
import importlib, os, sys
import cv2, numpy, PIL.Image, yaml  # cv2 changes the environment for itself
before = dict(os.environ), list(sys.argv), os.getcwd(), list(sys.path)
for name in {WITHOUT_JITTOR}:
    importlib.import_module("jiidm." + name)
    assert "jittor" not in sys.modules, name
    assert (dict(os.environ), list(sys.argv), os.getcwd(), list(sys.path)) == before, name
"""
    done = run_python(code, tmp_path, PYTHONDONTWRITEBYTECODE="1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", KIT + CORE, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_files_stay_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
