"""The embedded Table 1: what ships fits together, and a row comes out again as it is stored."""

from __future__ import annotations

import numpy as np
import pytest

from jiidm.cli import main as cli
from jiidm.evaluate import segmenter
from jiidm.evaluate.score import Evaluators, examine
from jiidm.experiments import held_out, table1
from jiidm.experiments import trials as experiment
from jiidm.experiments.impartial import networks_of
from jiidm.model.files import sha256

MASKS = 8


@pytest.fixture(scope="module")
def rows():
    return {row.name: row for row in table1.read(table1.STORED)[0]}


def test_every_row_ships_as_the_file_that_was_scored(rows):
    found = {trial.name: trial for trial in table1.trials(table1.shipped_models())}
    assert list(rows) == list(found) == ["SEAN", "SCGAN", "GauGAN", "CLADE", "DM", "IIDM", "IIDM-demo"]
    assert {name: row.facts["sha256"] for name, row in rows.items()} == {
        name: trial.model.sha256 for name, trial in found.items()
    }


def test_the_judge_ships_and_took_part_in_no_row(rows):
    judge = sha256(table1.JUDGE)
    assert all(row.result.card["made_with"]["segmenter"]["sha256"] == judge for row in rows.values())
    used = [network.sha256 for model in table1.shipped_models() for network in networks_of(model) or ()]
    assert used and judge not in used


def test_weights_of_the_rows_take_at_most_20_mb():
    assert sum((table1.SHIPPED / f"{name}.safetensors").stat().st_size for name in table1.SHIPPED_ROWS) <= 20e6


def test_the_command_prints_the_stored_table(capsys):
    assert cli.main(["table1"]) == 0
    printed = capsys.readouterr().out
    assert all(f"| {name} " in printed for name in ("SEAN", "SCGAN", "GauGAN", "CLADE", "DM", "IIDM", "IIDM-demo"))


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_clade_paints_and_scores_as_it_is_stored(rows, tmp_path):
    stored = rows["CLADE"].result.card["images"]
    (trial,) = [trial for trial in table1.trials(table1.shipped_models()) if trial.name == "CLADE"]
    # the last mask's reference is the first's photo, unlike in the larger table: it is painted, and left out
    jobs = held_out.lay_out(tmp_path, MASKS + 1, trial.config.data.size, None)
    experiment.generate([trial], jobs, tmp_path, 0)
    judge = segmenter.load(table1.JUDGE)
    again = examine(tmp_path / "CLADE", jobs[:MASKS], Evaluators(judge, judge, "fd_seg"), None).card["images"]
    difference = {
        score: np.array([again[job.stem][score] - stored[job.stem][score] for job in jobs[:MASKS]]) for score in "MS"
    }
    assert np.abs(difference["M"]).max() <= 1 and abs(difference["M"].mean()) <= 0.3
    assert np.abs(difference["S"]).max() <= 1
