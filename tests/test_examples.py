"""The examples run as they stand; the quick ones with a tiny model in place of the one that ships."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jiidm import IIDMPipeline

PROJECT = Path(__file__).resolve().parent.parent
SCRIPT, NOTEBOOK = PROJECT / "examples" / "paint.py", PROJECT / "examples" / "paint.ipynb"


@pytest.fixture
def tiny(smoke_model, tmp_path, monkeypatch):
    """The model that ships is a tiny one, and files are written elsewhere."""
    load = IIDMPipeline.from_pretrained
    monkeypatch.setattr(
        IIDMPipeline, "from_pretrained", lambda path=None, device="cpu": load(path or smoke_model, "cpu")
    )
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cells():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_the_script_writes_an_image_of_the_masks_size(tiny):
    runpy.run_path(str(SCRIPT), run_name="__main__")
    with Image.open("painted.png") as image:
        assert (image.mode, image.size) == ("RGB", (256, 192))


def test_the_script_is_short():
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) < 30


@pytest.mark.slow
def test_the_script_runs_by_itself_with_the_model_that_ships(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "nvcc_path": ""}
    run = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "painted.png\n"), run.stderr
    assert os.listdir(tmp_path) == ["painted.png"]


def test_every_cell_of_the_notebook_runs(tiny, cells):
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    assert names["image"].shape == (192, 256, 3) and names["image"].dtype == np.uint8
    assert not np.array_equal(names["low"], names["high"])


def test_the_notebook_is_kept_without_outputs(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
