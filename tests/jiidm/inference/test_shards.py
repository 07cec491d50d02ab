"""Shards of one job at once in one folder: what they leave is what one call leaves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from infer_calls import contents
from processes import PROJECT

from jiidm.cli import main as cli

COUNT = 3


@pytest.fixture(scope="module")
def whole(original_inputs, smoke_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    assert cli.main(original_inputs.command(out, smoke_model, "--batch-size", 1)) == 0
    return out


@pytest.mark.slow
def test_all_at_once(whole, inputs, smoke_model, tmp_path):
    out = tmp_path / "out"
    commands = [
        inputs.command(out, smoke_model, "--batch-size", 1, "--shard", f"{number}/{COUNT}")
        for number in range(1, COUNT + 1)
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    processes = [
        subprocess.Popen([sys.executable, "-m", "jiidm", *command], env=environment, stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    told = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * COUNT
    assert contents(out) == contents(whole) and len(contents(out)) == 3
    assert (out / "_run" / "contact_sheet.jpg").exists()
    for number, text in enumerate(told, start=1):
        assert f"part {number} of {COUNT}: 1 images made" in text


def test_one_after_the_other(whole, inputs, smoke_model, tmp_path, capsys):
    out = tmp_path / "out"
    everything = ["m0", "m1", "m2"]
    for number, stems in ((3, ["m2"]), (1, ["m0", "m2"]), (1, ["m0", "m2"]), (2, everything), (3, everything)):
        command = inputs.command(out, smoke_model, "--batch-size", 1, "--shard", f"{number}/{COUNT}")
        assert cli.main(command) == 0
        assert sorted(path.stem for path in out.glob("*.jpg")) == stems
        assert (out / "_run" / "contact_sheet.jpg").exists() == (len(stems) == 3)
        assert f"part {number} of {COUNT}" in capsys.readouterr().out
    assert contents(out) == contents(whole)


def test_a_shard_takes_whole_batches(inputs, smoke_model, tmp_path):
    out = tmp_path / "out"
    for number, stems in ((2, ["m2"]), (3, ["m2"]), (1, ["m0", "m1", "m2"])):  # batches of two: m0 and m1, m2
        assert cli.main(inputs.command(out, smoke_model, "--shard", f"{number}/{COUNT}")) == 0
        assert sorted(path.stem for path in out.glob("*.jpg")) == stems


def test_refusals_leave_no_folder(inputs, smoke_model, tmp_path, refusal, monkeypatch):
    out = tmp_path / "out"
    assert "--shard: '4/3' is not i/n" in refusal(inputs.command(out, smoke_model, "--shard", "4/3"))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "")
    assert "SLURM_ARRAY_TASK_ID=(empty)" in refusal(inputs.command(out, smoke_model, "--shard", "slurm"))
    assert "--shard: goes with MASKS" in refusal(["infer", "--shard", "1/2", "--device", "cpu"])
    assert not out.exists()
