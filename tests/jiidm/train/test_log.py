from __future__ import annotations

import json
import sys

import pytest
from runs import records_of, steps_of

from jiidm.train.log import RunLog


def write_log(folder, first_step, max_steps, stop=None):
    log = RunLog(folder, "train", first_step, max_steps)
    for step in range(first_step, stop or max_steps):
        log.advance({"loss": 1.0 / (step + 1)})
        log.record(step + 1, loss=1.0 / (step + 1))
    log.close()


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)


def test_a_line_of_json_per_record(tmp_path):
    write_log(tmp_path, 0, 3)
    records = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert records == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}, {"step": 3, "loss": 1 / 3}]


def test_records_are_on_disk_before_the_end(tmp_path):
    log = RunLog(tmp_path, "train", 0, 3)
    log.record(1, loss=1.0)
    assert steps_of(tmp_path / "train.jsonl", "loss") == [1]
    log.close()


def test_a_resumed_run_replaces_what_came_after_its_start(tmp_path):
    write_log(tmp_path, 0, 10, stop=7)
    write_log(tmp_path, 5, 10)
    assert steps_of(tmp_path / "train.jsonl", "loss") == list(range(1, 11))


def test_a_half_written_line_is_dropped(tmp_path):
    write_log(tmp_path, 0, 3)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    write_log(tmp_path, 3, 5)
    assert steps_of(tmp_path / "train.jsonl", "loss") == [1, 2, 3, 4, 5]


def test_damaged_lines_are_left_out_and_told(tmp_path, caplog):
    write_log(tmp_path, 0, 2)
    with (tmp_path / "train.jsonl").open("ab") as file:
        for line in (
            b'{"stdp": 1}',
            b'{"step": "x"}',
            b"[]",
            b"1",
            b"nonsense",
            b'{"step": 2, "\xe4": 1',
            b'{"step": 2}',
        ):
            file.write(line + b"\n")
    write_log(tmp_path, 2, 3)
    assert [record["step"] for record in records_of(tmp_path / "train.jsonl")] == [1, 2, 2, 3]
    assert len(caplog.messages) == 6 and f"{tmp_path / 'train.jsonl'}: line 3 is damaged" in caplog.messages[0]


def test_the_bar_shows_progress_loss_and_time_left(tmp_path, capsys):
    write_log(tmp_path, 2, 10)
    shown = capsys.readouterr().err
    assert "train" in shown and "10/10" in shown and "loss=" in shown and "2/10" in shown


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
    written = []

    class Board:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, key, value, step):
            written.append((self.folder, key, value, step))

        def close(self):
            written.append("closed")

    stand_in = type(sys)("tensorboardX")
    stand_in.SummaryWriter = Board
    monkeypatch.setitem(sys.modules, "tensorboardX", stand_in)
    write_log(tmp_path, 0, 1)
    assert written == [(str(tmp_path / "tensorboard" / "train"), "loss", 1.0, 1), "closed"]
