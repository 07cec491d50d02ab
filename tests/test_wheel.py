"""The built wheel: complete, and usable from an empty folder without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jiidm.cli.options import DIFFUSION_CONFIGS

PROJECT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def run(*command, folder, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder into which the wheel is installed. It is built of a copy, since building writes beside setup.py."""
    root = tmp_path_factory.mktemp("wheel")
    source, wheels, target = (root / name for name in ("source", "wheels", "site"))
    for folder in ("jiidm", "ldm_jittor", "configs"):
        shutil.copytree(PROJECT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE"):
        shutil.copy(PROJECT / name, source / name)
    run("-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source, folder=root)
    (wheel,) = wheels.glob("*.whl")
    run("-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel, folder=root)
    return target


def test_wheel_has_configs_weights_kernels_and_types(site):
    patterns = (
        "configs/*.yaml",
        "jiidm/assets/**/*",
        "jiidm/painter/static/*",
        "jiidm/system/*.cpp",
        "ldm_jittor/kernels/*",
        "*/py.typed",
    )
    for pattern in patterns:
        names = {path.relative_to(PROJECT) for path in PROJECT.glob(pattern) if path.is_file()}
        names = {Path("jiidm") / name if name.parts[0] == "configs" else name for name in names}
        assert names and not [name for name in names if not (site / name).is_file()]
    assert not (site / "tests").exists() and not (site / "configs").exists()


def test_wheel_works_from_an_empty_folder(site, tmp_path):
    def jiidm(*arguments):
        return run("-m", "jiidm", *arguments, folder=tmp_path, PYTHONPATH=str(site))

    where = run("-c", "import jiidm; print(jiidm.__file__)", folder=tmp_path, PYTHONPATH=str(site))
    assert Path(where.strip()).is_relative_to(site)
    version = run("-c", "import jiidm; print(jiidm.__version__)", folder=tmp_path, PYTHONPATH=str(site)).strip()
    assert jiidm("--version") == f"jiidm {version}\n" and list(site.glob(f"jiidm_kit-{version}.dist-info"))
    assert all(f"| {name} " in jiidm("schedule") for name in DIFFUSION_CONFIGS)
    told = jiidm("infer", "--dry-run", "--device", "cpu")
    assert str(site / "jiidm" / "assets" / "demo.safetensors") in told and "M parameters" in told
    jiidm("data", "synth", "data", "--count", "1", "--size", "64x48")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
