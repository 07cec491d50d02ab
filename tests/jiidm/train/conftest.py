"""A finished training run, which the tests here look at or copy."""

from __future__ import annotations

import shutil

import pytest

from jiidm.train.run import train


@pytest.fixture(scope="session")
def finished(smoke, tmp_path_factory):
    """A run to the end on generated landscapes; read only."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    assert train(smoke, None, folder) == folder / "model.safetensors"
    return folder


@pytest.fixture
def first_stage(finished, tmp_path):
    """A copy of the run in which the U-Net's training has not begun."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for name in ("state.safetensors", "model.safetensors", "diffusion.jsonl", "loss.png", "distances.json"):
        (folder / name).unlink()
    for name in ("samples", "checkpoints"):
        shutil.rmtree(folder / name)
    return folder
