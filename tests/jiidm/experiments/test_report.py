"""The page of an experiment."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from jiidm.cli import main as cli
from jiidm.data.images import save_jpeg
from jiidm.errors import InputError
from jiidm.experiments import report

ROWS = {
    "DM": {"scores": {"M": 50.0, "S": 1.25}, "intervals": {"M": [49.0, 51.0], "S": [1.0, 1.5]}},
    "AAA": {"scores": {"M": 60.0}, "intervals": {"M": [59.5, 60.5]}},
}


@pytest.fixture
def out(tmp_path):
    for name in ROWS:
        (tmp_path / name / "_run").mkdir(parents=True)
        for stem in ("m0", "m1"):
            save_jpeg(tmp_path / name / f"{stem}.jpg", np.zeros((8, 8, 3), np.uint8))
    save_jpeg(tmp_path / "side_by_side.jpg", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "ablation.md").write_text("the table <as text>")
    content = {"rows": ROWS, "bootstrap": {"resamples": 1000, "confidence": 0.95}, "outputs": 2}
    content["expectations"] = [{"text": "M(AAA) > M(DM)", "holds": True, "margin": 10.0, "interval": [9, 11]}]
    (tmp_path / "ablation.json").write_text(json.dumps(content))
    return tmp_path


def test_the_table_has_every_score_with_its_interval(out):
    text = report.write_report(out).read_text()

    assert re.findall(r"<th.*?>(\w+)</th>", text)[:3] == ["row", "M", "S"]
    assert '<td>DM</td><td class="number">50.00 [49.00, 51.00]</td><td class="number">1.25 [1.00, 1.50]</td>' in text
    assert '<td>AAA</td><td class="number">60.00 [59.50, 60.50]</td><td class="number">-</td>' in text
    assert "95 % bootstrap intervals, 1000 resamples" in text and "M(AAA) &gt; M(DM)" in text
    assert "the table &lt;as text&gt;" in text and "side_by_side" in text


def test_sliders_go_through_the_rows_in_the_tables_order(out):
    found = report.write_report(out).read_text().split("Row after row")[1]

    assert re.findall(r'alt="(\w+)"', found) == ["DM", "AAA"] * 2


def test_a_sweep_has_a_row_for_each_start(tmp_path):
    points = [{"start": start, **ROWS["DM"]} for start in (100, 200)]
    (tmp_path / "sweep.json").write_text(json.dumps({"points": points, "outputs": 2}))

    assert re.findall(r"<tr><td.*?>(\d+)</td>", report.write_report(tmp_path).read_text()) == ["100", "200"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": {}}', '{"rows": {"a": 1}}', '{"rows": {"a": {}}}'])
def test_a_damaged_table_is_named(tmp_path, text, refusal):
    (tmp_path / "table1.json").write_text(text)

    assert "table1.json: not a table" in refusal(["report", tmp_path])


def test_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(InputError, match="no experiment's table"):
        report.write_report(tmp_path)


def test_the_command_prints_the_path(out, capsys):
    assert cli.main(["report", str(out)]) == 0
    assert capsys.readouterr().out == f"report: {out / 'report.html'}\n"
