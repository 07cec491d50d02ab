from __future__ import annotations

import numpy as np
import pytest

from jiidm.data.images import load_image
from jiidm.errors import InputError
from jiidm.report.sheets import contact_sheet, sample_grid

RED, GREEN = (220, 30, 30), (30, 200, 40)


def flat(color, width=40, height=30):
    image = np.empty((height, width, 3), np.uint8)
    image[:] = color
    return image


def count(sheet, color):
    return int((sheet == color).all(axis=2).sum())


def test_the_sheet_shows_every_tile_whole_and_in_its_column(tmp_path):
    rows = [[flat(RED), flat(GREEN)]] * 3
    assert contact_sheet(rows, tmp_path / "s.png", ["left", "right"]) == [tmp_path / "s.png"]
    sheet = load_image(tmp_path / "s.png")
    assert count(sheet, RED) == count(sheet, GREEN) == 3 * 40 * 30
    columns = [np.flatnonzero((sheet == color).all(axis=2).any(axis=0)) for color in (RED, GREEN)]
    assert columns[0].max() < columns[1].min() and np.ptp(columns[0]) == 39


def test_wide_tiles_are_shrunk_to_256_pixels(tmp_path):
    contact_sheet([[flat(RED, 512, 384)]], tmp_path / "s.png", ["x"])
    assert count(load_image(tmp_path / "s.png"), RED) == 256 * 192


def test_captions_and_labels_are_drawn(tmp_path):
    def dark_rows(captions, labels):
        contact_sheet([[flat(RED)]], tmp_path / "s.png", captions, labels)
        return np.flatnonzero((load_image(tmp_path / "s.png").max(axis=2) < 160).any(axis=1))

    assert dark_rows([""], None).size == 0
    caption = dark_rows(["reference"], None)
    assert 0 < caption.size < 20 and caption.max() < 20
    both = dark_rows(["reference"], ["stem"])
    assert both.max() > 20 and both.size > caption.size


def test_captions_wider_than_their_tiles_are_not_cut(tmp_path):
    caption = "a caption far wider than its tile"
    contact_sheet([[flat(RED, 8, 8)] * 2], tmp_path / "s.png", [caption] * 2)
    ink = (load_image(tmp_path / "s.png")[:20].max(axis=2) < 160).any(axis=0)
    assert ink.size > 300 and not ink[-2:].any()
    first, second = ink[: ink.size // 2], ink[ink.size // 2 :]
    assert abs(int(first.sum()) - int(second.sum())) <= 6


def test_many_rows_continue_on_further_sheets(tmp_path):
    rows = [[flat((index, 0, 0))] for index in range(5)]
    labels = [f"row{index}" for index in range(5)]
    sheets = contact_sheet(rows, tmp_path / "s.jpg", ["x"], labels, rows_per_sheet=2)
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
            contact_sheet(rows, tmp_path / "s.png", captions, labels)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"s\.pdf: a picture's name ends in \.jpg or \.png"):
        contact_sheet([[flat(RED)]], tmp_path / "s.pdf", ["x"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "columns", "shape"), [(4, None, (2, 2)), (5, None, (2, 3)), (3, 1, (3, 1)), (1, None, (1, 1))]
)
def test_sample_grid_is_nearly_square(tmp_path, number, columns, shape):
    sample_grid([flat(RED)] * number, tmp_path / "g.png", columns)
    grid = load_image(tmp_path / "g.png")
    assert grid.shape[:2] == (shape[0] * 34 - 4, shape[1] * 44 - 4)
    assert count(grid, RED) == number * 40 * 30


def test_a_label_longer_than_the_row_is_drawn_whole(tmp_path):
    contact_sheet([[flat(RED)]], tmp_path / "s.png", ["x"], ["a name that is a good deal longer than the tile"])
    dark = np.flatnonzero((load_image(tmp_path / "s.png").max(axis=2) < 160).any(axis=0))
    assert 250 < dark.max() < load_image(tmp_path / "s.png").shape[1] - 2
