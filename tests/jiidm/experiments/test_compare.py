from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from jiidm.classes import colorize
from jiidm.cli import main as cli
from jiidm.data import images
from jiidm.experiments import compare
from jiidm.inference import scorecard

STEMS = [f"m{number:02d}" for number in range(20)]
COLORS = {"first": (200, 30, 30), "second": (30, 200, 30), "reference": (30, 30, 200)}


def fill(folder, color, stems=STEMS):
    folder.mkdir(parents=True)
    for stem in stems:
        images.save_jpeg(folder / f"{stem}.jpg", np.full((24, 32, 3), color, np.uint8))
    return folder


@pytest.fixture
def inputs(tmp_path):
    fill(tmp_path / "imgs", COLORS["reference"])
    (tmp_path / "masks").mkdir()
    for stem in STEMS:
        images.save_png(tmp_path / "masks" / f"{stem}.png", np.full((24, 32), 11, np.uint8))
    (tmp_path / "refs.json").write_text(json.dumps({f"{stem}.png": f"{stem}.jpg" for stem in STEMS}))
    return ["--masks", tmp_path / "masks", "--refs", tmp_path / "refs.json"]


@pytest.fixture
def runs(tmp_path):
    folders = [fill(tmp_path / "runs" / name, COLORS[name]) for name in ("first", "second")]
    for number, folder in enumerate(folders):
        give_scores(folder, M=80.0 + number)
    return folders


def give_scores(folder, stems=STEMS, segmenter="one", name="net", images=None, inputs=None, mapping=None, **scores):
    per_image = images or {stem: {"M": 1.0, "S": 1.0} for stem in stems}
    card = {
        "scores": {"M": 80.0, "S": 20.0, **scores},
        "images": per_image,
        "outputs": {"sha256": scorecard.digest(folder, per_image)},
        "made_with": {"segmenter": {"sha256": segmenter, "name": name, "mapping": mapping}, "histogram": "bins"},
        **({"inputs": {"sha256": inputs}} if inputs else {}),
    }
    scorecard.save(folder, card)


def run(*arguments):
    return cli.main(["compare", *map(str, arguments)])


def test_the_table_has_a_row_for_each_run(runs, tmp_path, capsys):
    assert run(*runs, "--out", tmp_path / "grid.png") == 0
    printed = capsys.readouterr().out
    assert "80.00" in printed and "81.00" in printed and "not comparable" not in printed
    assert str(runs[0]) in printed and str(runs[1]) in printed


def test_differences_from_the_first_run_are_paired_by_mask(runs):
    draws = np.random.default_rng(0)
    first, gains = draws.uniform(0, 100, (20, 2)), draws.normal(3, 2, 20)
    second = first + np.stack([np.full(20, 0.5), gains], axis=1)
    for folder, values in zip(runs, (first, second)):
        give_scores(folder, images={stem: {"M": m, "S": s} for stem, (m, s) in zip(STEMS, values.tolist())})
    differences = compare.table(runs).split("Above")[1]
    expected = stats.bootstrap((gains,), np.mean, method="percentile", random_state=1).confidence_interval
    assert f"{runs[0]}, paired by mask, with 95 % bootstrap intervals:" in differences
    row = next(line for line in differences.splitlines() if str(runs[1]) in line)
    assert "+0.50 [+0.50, +0.50]" in row
    mean, low, high = map(float, re.findall(r"[+-][\d.]+", row.split("|")[3]))
    np.testing.assert_allclose([mean, low, high], [gains.mean(), *expected], atol=0.1)


def test_one_mask_has_no_interval(runs):
    for folder, accuracy in zip(runs, (80.0, 82.0)):
        give_scores(folder, images={STEMS[0]: {"M": accuracy, "S": 1.0}})
    assert "| +2.00 | +0.00 |" in compare.table(runs)


def colors_in(path):
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    return [np.abs(pixels.astype(int) - color).max(axis=1) <= 8 for color in map(np.array, COLORS.values())]


def test_the_picture_shows_reference_mask_and_every_run(runs, inputs, tmp_path):
    assert run(*runs, *inputs, "--out", tmp_path / "deep" / "grid.png") == 0
    path = tmp_path / "deep" / "grid.png"
    assert [found.sum() for found in colors_in(path)] == [compare.ROWS * 32 * 24] * 3
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet)
    mask_color = colorize(np.full((1, 1), 11, np.uint8))[0, 0]
    assert (pixels == mask_color).all(axis=-1).sum() == compare.ROWS * 32 * 24
    columns = [np.flatnonzero(found.reshape(pixels.shape[:2]).any(axis=0)).min() for found in colors_in(path)]
    masks_column = np.flatnonzero((pixels == mask_color).all(axis=-1).any(axis=0)).min()
    first, second, reference = columns
    assert reference < masks_column < first < second


def test_without_masks_it_shows_the_runs_alone(runs, tmp_path):
    assert run(*runs, "--out", tmp_path / "grid.png") == 0
    assert [found.sum() > 0 for found in colors_in(tmp_path / "grid.png")] == [True, True, False]


def test_only_images_that_all_runs_have_are_shown(runs, tmp_path, monkeypatch):
    third = fill(tmp_path / "third", (9, 9, 9), ["m03", "m05", "other"])
    shown = []
    monkeypatch.setattr(compare, "contact_sheet", lambda rows, path, captions, labels: shown.extend([captions, labels]))
    compare.picture([*runs, third], [], tmp_path / "grid.png")
    assert shown == [["first", "second", "third"], ["m03", "m05"]]


def test_shown_masks_are_spread_over_all(runs, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(compare, "contact_sheet", lambda rows, path, captions, labels: shown.extend(labels))
    compare.picture(runs, [], tmp_path / "grid.png")
    assert shown == ["m00", "m02", "m05", "m07", "m10", "m12", "m15", "m17"]


def test_runs_of_one_name_are_shown_by_their_paths(tmp_path, monkeypatch):
    same = [fill(tmp_path / name / "out", (9, 9, 9)) for name in "ab"]
    shown = []
    monkeypatch.setattr(compare, "contact_sheet", lambda rows, path, captions, labels: shown.extend(captions))
    compare.picture(same, [], tmp_path / "grid.png")
    assert shown == [str(run) for run in same]


def test_runs_scored_otherwise_are_told_apart(runs, tmp_path, capsys):
    give_scores(runs[1], segmenter="two")
    run(*runs, "--out", tmp_path / "grid.png")
    printed = capsys.readouterr().out
    assert "not comparable: the runs were scored with another segmenter" in printed and "Above" not in printed
    give_scores(runs[1], name="the same weights in another file")
    run(*runs, "--out", tmp_path / "grid.png")
    assert "not comparable" not in capsys.readouterr().out
    give_scores(runs[1], stems=STEMS[1:])
    run(*runs, "--out", tmp_path / "grid.png")
    assert "not comparable: the runs are of other masks" in capsys.readouterr().out


def test_a_run_without_scores_is_named(runs, tmp_path, refusal):
    (runs[1] / "_run" / "scores.json").unlink()
    line = refusal(["compare", *runs, "--out", tmp_path / "grid.png"])
    assert str(runs[1]) in line and "`jiidm score" in line
    assert not (tmp_path / "grid.png").exists()


def test_runs_with_nothing_in_common_are_refused(runs, tmp_path, refusal):
    other = fill(tmp_path / "other", (9, 9, 9), ["x"])
    give_scores(other, stems=["x"])
    assert "no image that all of them have" in refusal(["compare", runs[0], other, "--out", tmp_path / "grid.png"])


def test_a_folder_in_the_way_of_the_picture_is_named(runs, tmp_path, refusal):
    (tmp_path / "grid.png").mkdir()
    assert "grid.png: cannot be written" in refusal(["compare", *runs, "--out", tmp_path / "grid.png"])


def test_masks_and_references_belong_together(runs, inputs, refusal):
    assert "--masks and --refs" in refusal(["compare", *runs, *inputs[:2]])


@pytest.mark.parametrize("inputs, comparable", [((None, "x"), True), (("x", "x"), True), (("x", "y"), False)])
def test_runs_scored_by_other_masks_or_references_are_told_apart(runs, inputs, comparable):
    for folder, digest in zip(runs, inputs):
        give_scores(folder, inputs=digest)
    assert ("not comparable: the runs were scored by other masks or ref" not in compare.table(runs)) is comparable


def test_the_name_of_a_mappings_file_makes_no_difference(runs):
    for folder, name in zip(runs, "ab"):
        give_scores(folder, mapping={"source": f"{name}.json", "classes": {"sky": [3]}})
    assert "not comparable" not in compare.table(runs)
    give_scores(runs[0], mapping={"source": "a.json", "classes": {"sky": [4]}})
    assert "scored with another segmenter" in compare.table(runs)
