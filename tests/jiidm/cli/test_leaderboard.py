"""`jiidm leaderboard` from masks to its page, with networks whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from networks import Brightness, Redness

from jiidm.cli import options
from jiidm.cli.main import main
from jiidm.data import images
from jiidm.evaluate.metrics import total_score
from jiidm.evaluate.score import Evaluators
from jiidm.experiments.orderings import PAPER_TABLE_1
from jiidm.size import Size

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def command(inputs, smoke_model, tmp_path, monkeypatch):
    """Arguments for masks of one size, and the networks' stand-ins."""
    for mask in sorted(inputs.masks.iterdir()):
        images.save_png(mask, images.load_mask(mask, Size(48, 64)))
    evaluators = Evaluators(Brightness(), Brightness(), "FID", Redness())
    monkeypatch.setattr(options, "load_evaluators", lambda arguments: evaluators)
    given = ["leaderboard", inputs.masks, inputs.references, tmp_path / "out", "--checkpoint", smoke_model]
    return [str(argument) for argument in [*given, "--device", "cpu"]]


def record(tmp_path):
    return json.loads((tmp_path / "out" / "_run" / "leaderboard.json").read_text())


def test_the_page_has_t_its_parts_and_where_they_came_from(command, landscapes, tmp_path, capsys):
    given = ["--real", str(landscapes), "--inception", "weights.pth", "--fid-resize", "clean"]
    assert main([*command, *given]) == 0
    found, page = record(tmp_path), (tmp_path / "out" / "_run" / "leaderboard.html").read_text()
    printed = capsys.readouterr().out
    assert "leaderboard.html" in printed and "Inception's size as in clean" in printed and "95 % interval" in printed
    values = {name: score["value"] for name, score in found["scores"].items()}
    expected = total_score(values["M"], values["A"], values["FID"], values["S"])
    assert values["T"] == pytest.approx(expected, abs=1e-3) and f"{values['T']:.2f} [" in page
    for row in PAPER_TABLE_1.values():
        assert all(f"{value:.2f}" in page for value in row)
    assert found["paper_t_recomputed"]["IIDM"] == 65.22 and "computes to 65.22" in page
    for name, row in PAPER_TABLE_1.items():  # the paper's other rows follow its Eq. 8
        assert name == "IIDM" or found["paper_t_recomputed"][name] == pytest.approx(row[-1], abs=0.011)
    assert found["made_by"]["made_by"]["model"] in page and found["made_with"]["segmenter"]["sha256"] in page
    assert found["outputs"]["count"] == 3 and found["seconds"].keys() == {"images, those that were missing", "scores"}
    assert found["further"].keys() >= {"mIoU", "mAcc", "KID"}
    assert page.count("data:image/jpeg") == 2  # the contact sheet and the nearest photos


def test_what_is_missing_leaves_its_cell_and_t_empty_with_the_option_that_fills_it(command, tmp_path, monkeypatch):
    bare = Evaluators(Brightness(), Brightness(), "fd_seg")
    monkeypatch.setattr(options, "load_evaluators", lambda arguments: bare)
    assert main(command) == 0
    scores, page = record(tmp_path)["scores"], (tmp_path / "out" / "_run" / "leaderboard.html").read_text()
    assert [name for name, score in scores.items() if score["value"] is None] == ["A", "FID", "T"]
    assert "--aesthetic" in scores["A"]["filled_by"] and "--inception" in scores["FID"]["filled_by"]
    assert "--aesthetic" in scores["T"]["filled_by"] and "--real" in scores["T"]["filled_by"]
    assert "What is missing" in page


def test_a_second_call_keeps_the_images(command, tmp_path):
    assert main(command) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.jpg")}
    assert main(command) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.jpg")} == before


def test_images_from_elsewhere_are_said_to_be_of_unknown_origin(command, inputs, tmp_path):
    (tmp_path / "out").mkdir()
    for mask in inputs.masks.iterdir():
        images.save_jpeg(tmp_path / "out" / f"{mask.stem}.jpg", np.zeros((48, 64, 3), np.uint8))
    assert main(command) == 0
    assert record(tmp_path)["made_by"].keys() == {"unknown"}


def test_options_that_do_not_go_together_are_refused_before_images_are_made(command, tmp_path, refusal):
    assert "--real DIR" in refusal([*command, "--inception", "weights.pth"])
    assert "--aesthetic too" in refusal([*command, "--clip", "tower"])
    assert not (tmp_path / "out").exists()
