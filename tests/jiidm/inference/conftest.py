"""A finished output folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from infer_calls import paint


@pytest.fixture(scope="session")
def painted(original_inputs, smoke_model, tmp_path_factory):
    """The output folder of one plain call; read only."""
    out = tmp_path_factory.mktemp("painted") / "out"
    assert paint(original_inputs, out, smoke_model) == 0
    return out


@pytest.fixture
def out(painted, tmp_path):
    """A finished output folder in a copy that a test may change."""
    return Path(shutil.copytree(painted, tmp_path / "out"))
