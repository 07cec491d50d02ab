"""The page of an output folder."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from jiidm.classes import colorize
from jiidm.cli import main as cli
from jiidm.data.images import load_image, load_mask, save_jpeg
from jiidm.errors import InputError
from jiidm.inference import report, scorecard
from jiidm.inference.folder import OutputFolder
from jiidm.inference.inputs import check_inputs
from jiidm.report import html

SCORES = {"m0": {"M": 90.0, "S": 10.0}, "m1": {"M": 70.0, "S": 60.0}, "m2": {"M": 80.0, "S": 30.0}}


@pytest.fixture
def jobs(inputs):
    return check_inputs(*inputs, None)


@pytest.fixture
def out(tmp_path, jobs):
    """A folder as `infer` leaves it, with one image's way."""
    folder = OutputFolder(tmp_path / "out")
    folder.claim({"size": [64, 48]}, jobs)
    (folder.run_folder / "manifest.json").write_text(
        json.dumps({"made_by": {}, "made_from": {job.stem: job.made_from for job in jobs}})
    )
    folder.note_inputs(jobs)
    for number, job in enumerate(jobs):
        folder.write(job.stem, np.full((*job.size, 3), 40 * number, np.uint8))
    for name in ("starts/m0.jpg", "rounds/m0.1.jpg"):
        (folder.run_folder / name).parent.mkdir()
        save_jpeg(folder.run_folder / name, np.full((48, 64, 3), 200, np.uint8))
    return folder.path


@pytest.fixture(autouse=True)
def known_inputs(monkeypatch):
    """A manifest of the tests' own is of no earlier version."""
    monkeypatch.setattr("jiidm.inference.folder.renewed", dict)


def score(out, images=SCORES):
    card = {"scores": {"M": 80.0, "S": 33.3}, "units": "percent", "absent": {"A": "no weights"}, "warnings": ["few"]}
    digest = scorecard.digest(out, images)
    scorecard.save(out, {**card, "made_with": {}, "outputs": {"count": 3, "sha256": digest}, "images": images})


def page(out, *arguments):
    return report.write_report(out, *arguments).read_text(encoding="utf-8")


def test_the_way_leads_from_the_reference_over_the_rounds_to_the_result(out):
    way = page(out).split("stages of m0")[0]

    stages = re.findall(r'alt="([^"]+)"', way)
    assert stages == ["reference", "mask", "noisy start", "after round 1", "result"]


def test_best_and_worst_stand_in_the_order_of_each_score(out):
    score(out)
    text = page(out)

    for name, order in (("M", ["m0", "m2", "m1"]), ("S", ["m1", "m2", "m0"])):
        part = text.split(f"Best and worst by {name}")[1].split("</section>")[0]
        shown = re.findall(rf"<figcaption>(m\d): {name} (\d+\.\d\d)", part)
        assert shown == [(stem, f"{SCORES[stem][name]:.2f}") for stem in (order[0], order[-1])]
    assert "A is absent: no weights." in text and "Warning: few." in text


def test_scores_of_other_images_are_not_shown(out):
    score(out)
    save_jpeg(out / "m1.jpg", np.zeros((64, 96, 3), np.uint8))

    with pytest.raises(InputError, match="have changed since"):
        report.write_report(out)


def test_inputs_that_have_changed_are_left_out(out, inputs):
    save_jpeg(inputs.masks.parent / "imgs" / "photo0.jpg", np.zeros((8, 8, 3), np.uint8))

    assert OutputFolder(out).noted_inputs().keys() == {"m1", "m2"}
    assert re.findall(r'alt="([^"]+)"', page(out).split("stages of m0")[0]) == [
        "noisy start",
        "after round 1",
        "result",
    ]


def test_given_inputs_serve_where_none_are_noted(out, jobs, monkeypatch):
    (out / "_run" / "inputs.json").unlink()
    shown = []
    monkeypatch.setattr(html, "slider", lambda pictures, *_: shown.extend(pictures) or "")
    report.write_report(out, jobs)

    assert [name for name, _ in shown[:2]] == ["reference", "mask"]
    assert np.array_equal(shown[0][1], load_image(jobs[0].reference, jobs[0].size))
    assert np.array_equal(shown[1][1], colorize(load_mask(jobs[0].mask)))


def test_the_command_writes_into_the_run_folder_and_prints_the_path(out, capsys):
    assert cli.main(["report", str(out)]) == 0
    assert capsys.readouterr().out == f"report: {out / '_run' / 'report.html'}\n"
    assert sorted(path.name for path in out.iterdir()) == ["_run", "m0.jpg", "m1.jpg", "m2.jpg"]


def test_what_is_no_folder_of_the_kit_is_refused(tmp_path, refusal):
    assert "nowhere" in refusal(["report", tmp_path / "nowhere"])
    assert "no images" in refusal(["report", tmp_path])
    assert "--masks and --refs" in refusal(["report", tmp_path, "--masks", tmp_path])
