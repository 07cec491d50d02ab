"""The page of a training run."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from jiidm.cli import main as cli
from jiidm.data.images import save_png
from jiidm.errors import InputError
from jiidm.train import report
from jiidm.train.report import MOST_SHEETS


@pytest.fixture
def run(tmp_path):
    """What the page is made of, without a model."""
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text("name: mine\nseed: 7\n")
    lines = [{"step": step, "loss": 1 / step, "simple": 2 / step} for step in range(1, 50)]
    (folder / "diffusion.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in (100, 50, 200):
        save_png(folder / "samples" / f"step_{step:08d}.png", np.zeros((4, 4, 3), np.uint8))
    made = {"score": "fd_seg", "network": "x", "images": 4, "sampling": "y"}
    entries = [{"step": step, "distance": distance, **made} for step, distance in ((50, 2.5), (200, 1.5))]
    (folder / "distances.json").write_text(json.dumps(entries))
    return folder


def test_a_run_that_goes_on_shows_curves_samples_checkpoints_and_config(run):
    text = report.write_report(run).read_text()

    assert "not finished" in text and "Curves: diffusion" in text and "seed: 7" in text
    assert re.findall(r'alt="(step \d+)"', text) == ["step 50", "step 100", "step 200"]
    ranks = re.findall(r'<tr><td class="number">(\d)</td><td class="number">(\d+)</td>', text)
    assert ranks == [("1", "200"), ("2", "50")]
    assert text.count("data:image/png") == 2  # the losses, and their parts


def test_many_sheets_are_thinned_evenly(run):
    for step in range(1000, 1300):
        save_png(run / "samples" / f"step_{step:08d}.png", np.zeros((4, 4, 3), np.uint8))
    steps = [int(step) for step in re.findall(r'alt="step (\d+)"', report.write_report(run).read_text())]

    assert len(steps) == MOST_SHEETS and steps[0] == 50 and steps[-1] == 1299


def test_settings_that_were_changed_on_the_way_are_told(run):
    change = {"step": 30, "changed": {"diffusion_training.learning_rate": [1e-4, 2e-4]}}
    (run / "config_history.json").write_text(json.dumps([change]))

    assert (
        'learning_rate</td><td class="number">0.0001</td><td class="number">0.0002'
        in report.write_report(run).read_text()
    )


@pytest.mark.slow
def test_a_finished_run_tells_its_data_and_environment(finished, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    assert cli.main(["report", str(folder)]) == 0

    text = (folder / "report.html").read_text()
    assert capsys.readouterr().out.endswith(f"report: {folder / 'report.html'}\n")
    assert "finished: model.safetensors" in text and "Curves: autoencoder" in text
    assert "<td>jittor</td><td>1.3.11" in text and "<td>data</td>" in text


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no config\.yaml"):
        report.write_report(tmp_path)
