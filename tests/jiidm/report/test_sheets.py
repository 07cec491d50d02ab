from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from jiidm.data.images import load_image
from jiidm.errors import InputError
from jiidm.report import sheets as report

RED, GREEN = (220, 30, 30), (30, 200, 40)


def flat(color, width=40, height=30):
    image = np.empty((height, width, 3), np.uint8)
    image[:] = color
    return image


def count(sheet, color):
    return int((sheet == color).all(axis=2).sum())


def test_the_sheet_shows_every_tile_whole_and_in_its_column(tmp_path):
    rows = [[flat(RED), flat(GREEN)]] * 3
    assert report.contact_sheet(rows, tmp_path / "s.png", ["left", "right"]) == [tmp_path / "s.png"]
    sheet = load_image(tmp_path / "s.png")
    assert count(sheet, RED) == count(sheet, GREEN) == 3 * 40 * 30
    columns = [np.flatnonzero((sheet == color).all(axis=2).any(axis=0)) for color in (RED, GREEN)]
    assert columns[0].max() < columns[1].min() and np.ptp(columns[0]) == 39


def test_wide_tiles_are_shrunk_to_256_pixels(tmp_path):
    report.contact_sheet([[flat(RED, 512, 384)]], tmp_path / "s.png", ["x"])
    assert count(load_image(tmp_path / "s.png"), RED) == 256 * 192


def test_captions_and_labels_are_drawn(tmp_path):
    def dark_rows(captions, labels):
        report.contact_sheet([[flat(RED)]], tmp_path / "s.png", captions, labels)
        return np.flatnonzero((load_image(tmp_path / "s.png").max(axis=2) < 160).any(axis=1))

    assert dark_rows([""], None).size == 0
    caption = dark_rows(["reference"], None)
    assert 0 < caption.size < 20 and caption.max() < 20
    both = dark_rows(["reference"], ["stem"])
    assert both.max() > 20 and both.size > caption.size


def test_captions_wider_than_their_tiles_are_not_cut(tmp_path):
    caption = "a caption far wider than its tile"
    report.contact_sheet([[flat(RED, 8, 8)] * 2], tmp_path / "s.png", [caption] * 2)
    ink = (load_image(tmp_path / "s.png")[:20].max(axis=2) < 160).any(axis=0)
    assert ink.size > 300 and not ink[-2:].any()
    first, second = ink[: ink.size // 2], ink[ink.size // 2 :]
    assert abs(int(first.sum()) - int(second.sum())) <= 6


def test_many_rows_continue_on_further_sheets(tmp_path):
    rows = [[flat((index, 0, 0))] for index in range(5)]
    labels = [f"row{index}" for index in range(5)]
    sheets = report.contact_sheet(rows, tmp_path / "s.jpg", ["x"], labels, rows_per_sheet=2)
    assert [path.name for path in sheets] == ["s.jpg", "s-2.jpg", "s-3.jpg"]
    heights = [load_image(path).shape[0] for path in sheets]
    assert heights[0] == heights[1] > heights[2]
    assert sheets[0].read_bytes()[:2] == b"\xff\xd8"


def test_rows_captions_and_labels_must_agree(tmp_path):
    for rows, captions, labels in (
        ([], ["x"], None),
        ([[flat(RED)]], ["x", "y"], None),
        ([[flat(RED)]], ["x"], []),
    ):
        with pytest.raises(ValueError):
            report.contact_sheet(rows, tmp_path / "s.png", captions, labels)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"s\.pdf: a picture's name ends in \.jpg or \.png"):
        report.contact_sheet([[flat(RED)]], tmp_path / "s.pdf", ["x"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "columns", "shape"), [(4, None, (2, 2)), (5, None, (2, 3)), (3, 1, (3, 1)), (1, None, (1, 1))]
)
def test_sample_grid_is_nearly_square(tmp_path, number, columns, shape):
    report.sample_grid([flat(RED)] * number, tmp_path / "g.png", columns)
    grid = load_image(tmp_path / "g.png")
    assert grid.shape[:2] == (shape[0] * 34 - 4, shape[1] * 44 - 4)
    assert count(grid, RED) == number * 40 * 30


def write_log(path, records, tail=""):
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def test_losses_are_drawn(tmp_path):
    records = [{"step": i, "loss": 1 / (i + 1)} for i in range(200)] + [{"step": 200, "val_loss": 0.2, "lr": 1}]
    log = write_log(tmp_path / "log.jsonl", records, tail='{"step": 201, "lo')
    report.plot_losses(log, tmp_path / "loss.png")
    plot = load_image(tmp_path / "loss.png")
    assert plot.shape == (540, 960, 3)
    assert count(plot, (0x1F, 0x77, 0xB4)) > 200 and count(plot, (0xFF, 0x7F, 0x0E)) > 10  # curve and dot
    assert not count(plot, (0x2C, 0xA0, 0x2C))


def test_distances_are_drawn_beside_losses(tmp_path):
    records = [{"step": i, "loss": 1 / (i + 1)} for i in range(200)] + [{"step": i, "FID": i} for i in (100, 200)]
    report.plot_losses(write_log(tmp_path / "log.jsonl", records), tmp_path / "loss.png")
    assert count(load_image(tmp_path / "loss.png"), (0x2C, 0xA0, 0x2C)) > 50


@pytest.mark.parametrize(
    "text", ["", '{"step": 1, "lr": 0.1}\n', '{"step": 1, "loss": null}\n', '{"step": 1, "loss": NaN}\n']
)
def test_a_log_without_losses_is_refused(tmp_path, text):
    log = tmp_path / "log.jsonl"
    log.write_text(text)
    with pytest.raises(InputError, match="no losses"):
        report.plot_losses(log, tmp_path / "loss.png")
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.parametrize("line", ["half", "[1]", "3", '{"loss": 1}'])
def test_a_damaged_line_is_named(tmp_path, line):
    log = tmp_path / "log.jsonl"
    log.write_text(f'{{"step": 1, "loss": 1}}\n{line}\n{{"step": 2, "loss": 1}}\n')
    with pytest.raises(InputError, match=r"log\.jsonl: line 2"):
        report.plot_losses(log, tmp_path / "loss.png")
    with pytest.raises(InputError, match="missing"):
        report.plot_losses(tmp_path / "missing", tmp_path / "loss.png")


def test_a_step_logged_twice_counts_with_its_last_value():
    records = [{"step": 2, "loss": 5.0}, {"step": 1, "loss": 4.0}, {"step": 2, "loss": 3.0}]
    steps, values = report._series(records, "loss")
    assert steps.tolist() == [1, 2] and values.tolist() == [4.0, 3.0]


def test_smoothing_keeps_a_constant_and_calms_noise():
    np.testing.assert_allclose(report._smooth(np.full(300, 0.7)), 0.7)
    noise = np.random.default_rng(0).standard_normal(4000)
    # an exponential average with weight 1/n leaves 1/(2n-1) of the variance; here n = 100
    assert report._smooth(noise)[500:].std() == pytest.approx((1 / 199) ** 0.5, rel=0.3)


def test_tables_are_aligned():
    text = report.table([("sky", 0.278996, 3), ("mountain", 0.1, 12)], ["class", "share", "n"])
    assert text.splitlines() == [
        "| class    | share |   n |",
        "| -------- | ----: | --: |",
        "| sky      | 0.279 |   3 |",
        "| mountain |   0.1 |  12 |",
    ]
    assert report.table([], ["a"]).splitlines() == ["| a   |", "| --- |"]


def test_importing_the_kit_files_loads_neither_matplotlib_nor_jittor():
    heavy = "{'matplotlib', 'jittor', 'yaml'}"
    code = (
        "import sys; from jiidm import color; from jiidm.data import images, pairs, references; "
        f"from jiidm.report import sheets; from jiidm.inference import folder; print({heavy} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
