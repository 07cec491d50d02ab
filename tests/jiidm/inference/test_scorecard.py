from __future__ import annotations

import json

import numpy as np
import pytest

from jiidm.data import images
from jiidm.errors import InputError
from jiidm.inference import scorecard


@pytest.fixture
def out(tmp_path):
    for stem in ("a", "b"):
        images.save_jpeg(tmp_path / f"{stem}.jpg", np.zeros((8, 8, 3), np.uint8))
    scorecard.save(tmp_path, card(tmp_path))
    return tmp_path


def card(out, **scores):
    per_image = {stem: {"M": 80.0, "S": 20.0} for stem in ("a", "b")}
    return {
        "scores": {"M": 80.0, "S": 20.0, **scores},
        "images": per_image,
        "outputs": {"count": 2, "sha256": scorecard.digest(out, per_image)},
        "made_with": {},
    }


def test_what_was_saved_is_read(out):
    assert scorecard.load(out) == card(out)
    assert [path.name for path in (out / "_run").iterdir()] == ["scores.json"]


@pytest.mark.parametrize("stem", ["a", "b"])
def test_scores_of_a_changed_image_are_refused(out, stem):
    images.save_jpeg(out / f"{stem}.jpg", np.full((8, 8, 3), 200, np.uint8))
    with pytest.raises(InputError, match=r"scores\.json: the images in .* have changed since"):
        scorecard.load(out)


def test_scores_of_a_deleted_image_are_refused(out):
    (out / "a.jpg").unlink()
    with pytest.raises(InputError, match="have changed since"):
        scorecard.load(out)


def test_a_folder_without_scores_says_what_makes_them(tmp_path):
    with pytest.raises(InputError, match=r"scores\.json: no such file; `jiidm score .*` makes it"):
        scorecard.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"images": [], "outputs": {"sha256": ""}}', '{"images": {"a": 1}, "outputs": {}}'],
)
def test_a_file_that_is_no_score_card_is_refused(out, text):
    (out / "_run" / "scores.json").write_text(text)
    with pytest.raises(InputError, match=r"scores\.json: not a file of `jiidm score`"):
        scorecard.load(out)


AESTHETIC_AS_TEXT = {stem: {"M": 80.0, "S": 20.0, "A": "50"} for stem in "ab"}


@pytest.mark.parametrize(
    "change",
    [{"scores": {"M": "80"}}, {"images": {"a": {}, "b": {}}}, {"images": AESTHETIC_AS_TEXT}, {"made_with": 1}],
    ids=str,
)
def test_a_part_of_another_kind_is_refused(out, change):
    (out / "_run" / "scores.json").write_text(json.dumps({**card(out), **change}))
    with pytest.raises(InputError, match=r"scores\.json: not a file of `jiidm score`"):
        scorecard.load(out)


def test_a_name_in_the_file_does_not_lead_out_of_the_folder(out):
    (out.parent / "secret.jpg").write_bytes(b"x")
    assert scorecard.digest(out, ["../secret"]) == scorecard.digest(out / "nothing", ["../secret"])
    (out.parent / "secret.jpg").unlink()


def test_the_table_is_the_papers(out):
    rows = [
        ("ours", {"M": 94.15, "S": 63.76, "A": 50.43, "FID": 30.75, "T": 65.2207}),
        ("other", {"M": 90.0, "S": 1.0}),
    ]
    lines = scorecard.as_table(rows).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == ["run", "M", "A", "FID", "S", "T"]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["ours", "94.15", "50.43", "30.75", "63.76", "65.22"]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["other", "90.00", "-", "-", "1.00", "-"]
