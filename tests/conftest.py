"""Jittor on the CPU for every test: the device has to be chosen before anything imports it. And shared inputs."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.data import images
from jiidm.data.synthetic.dataset import landscape, write_dataset
from jiidm.size import Size
from jiidm.system import runtime

# tiny arrays gain nothing from threads, and OpenMP's threads wait busily: beside another program sixty times as long
os.environ.setdefault("OMP_NUM_THREADS", "1")
runtime.prepare("cpu")

# one mask of the smoke model's own size, others larger; with the smoke config's batches of two the last one is partial
MASK_SIZES = {"m0": Size(48, 64), "m1": Size(64, 96), "m2": Size(48, 64)}

MARKED_FOLDERS = ("parity", "scripts")
"""Folders whose tests are marked with the folder's name."""
SKIPPED_IN_CI = ("no CUDA compiler", "root may write everywhere")
"""Reasons that no package removes. Any other skipped test fails in CI, where nothing may be missing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in MARKED_FOLDERS:
            item.add_marker(folder)


def pytest_runtest_setup() -> None:
    """Where a test has imported Jittor by itself, the tests after it may still end processes of theirs by a signal."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason not in SKIPPED_IN_CI:
            report.outcome, report.longrepr = "failed", f"{item.nodeid} was skipped in CI: {reason}"
    return report


class Inputs(NamedTuple):
    """What `infer` is given: a mask folder and a references JSON with the photos beside it."""

    masks: Path
    references: Path

    def command(self, out: str | Path, model: Path, *more: object) -> list[str]:
        """Arguments of `jiidm` that paint these masks into `out`."""
        given = ["infer", *self, out, "--checkpoint", model, "--device", "cpu", *more]
        return [str(argument) for argument in given]


@pytest.fixture
def refusal(capsys) -> Callable[[Sequence[object]], str]:
    """Runs a command that has to refuse its input with status 2 and one line on stderr; gives that line."""

    def run(arguments: Sequence[object]) -> str:
        capsys.readouterr()
        status = cli.main([str(argument) for argument in arguments])
        lines = capsys.readouterr().err.splitlines()
        assert status == 2 and len(lines) == 1 and lines[0].startswith("error: "), (status, lines)
        return lines[0]

    return run


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The kit's cache in place of the user's: features of real photos."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jiidm"


@pytest.fixture(scope="session")
def smoke() -> Config:
    return configs.load_config("smoke")


@pytest.fixture(scope="session")
def landscapes(tmp_path_factory) -> Path:
    """A data folder of six landscapes at the smoke model's size; read only."""
    root = tmp_path_factory.mktemp("landscapes")
    write_dataset(root, 6, Size(48, 64), seed=5, progress=False)
    return root


@pytest.fixture(scope="session")
def original_inputs(tmp_path_factory) -> Inputs:
    root = tmp_path_factory.mktemp("inputs")
    for folder in ("labels", "imgs"):
        (root / folder).mkdir()
    for number, (name, size) in enumerate(MASK_SIZES.items()):
        images.save_png(root / "labels" / f"{name}.png", landscape(number, size, seed=6)[1])
        images.save_jpeg(root / "imgs" / f"photo{number}.jpg", landscape(number + 10, Size(64, 96), seed=6)[0])
    references = {f"{name}.png": f"photo{number}.jpg" for number, name in enumerate(MASK_SIZES)}
    (root / "refs.json").write_text(json.dumps(references))
    return Inputs(root / "labels", root / "refs.json")


@pytest.fixture
def inputs(original_inputs, tmp_path) -> Inputs:
    """Three masks and their references, in a copy that a test may damage."""
    root = Path(shutil.copytree(original_inputs.masks.parent, tmp_path / "inputs"))
    return Inputs(root / "labels", root / "refs.json")


@pytest.fixture(scope="session")
def smoke_model(smoke, tmp_path_factory) -> Path:
    """A smoke model file of random weights, none of them zero: every layer has a say in the result."""
    from jiidm.model.build import build_autoencoder, build_unet
    from jiidm.model.files import save_model
    from ldm_jittor import checkpoint

    rng = np.random.default_rng(0)
    networks = []
    for module in (build_autoencoder(smoke.autoencoder), build_unet(smoke)):
        shapes = {name: tuple(value.shape) for name, value in module.named_parameters()}
        networks.append({name: _random_weight(rng, name, shape) for name, shape in shapes.items()})
        assert checkpoint.state_dict(module).keys() == networks[-1].keys()
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, smoke, *networks, {"made": "for tests"})
    return path


def _random_weight(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if "embedding" in name:
        return rng.standard_normal(shape).astype(np.float32)
    if len(shape) == 1:
        return (rng.standard_normal(shape) * 0.1 + name.endswith("weight")).astype(np.float32)
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
