from __future__ import annotations

import json

import numpy as np
import pytest

from jiidm.data.images import load_image
from jiidm.errors import InputError
from jiidm.report import plots


def count(picture, color):
    return int((picture == color).all(axis=2).sum())


def write_log(path, records, tail=""):
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return path


def test_losses_are_drawn(tmp_path):
    records = [{"step": i, "loss": 1 / (i + 1)} for i in range(200)] + [{"step": 200, "val_loss": 0.2, "lr": 1}]
    log = write_log(tmp_path / "log.jsonl", records, tail='{"step": 201, "lo')
    plots.plot_losses(log, tmp_path / "loss.png")
    plot = load_image(tmp_path / "loss.png")
    assert plot.shape == (540, 960, 3)
    assert count(plot, (0x1F, 0x77, 0xB4)) > 200 and count(plot, (0xFF, 0x7F, 0x0E)) > 10  # curve and dot
    assert not count(plot, (0x2C, 0xA0, 0x2C))


def test_distances_are_drawn_beside_losses(tmp_path):
    records = [{"step": i, "loss": 1 / (i + 1)} for i in range(200)] + [{"step": i, "FID": i} for i in (100, 200)]
    plots.plot_losses(write_log(tmp_path / "log.jsonl", records), tmp_path / "loss.png")
    assert count(load_image(tmp_path / "loss.png"), (0x2C, 0xA0, 0x2C)) > 50


def test_panels_stand_side_by_side_each_in_its_colour_with_the_marked_place(tmp_path):
    panels = [plots.Panel("one", [1, 2, 3], [(0, 2), (1, 3), (2, 4)]), plots.Panel("two", [3, 2, 1], [(0, 4)] * 3)]
    pictures = []
    for marked in (15, 25):
        plots.plot_panels(panels, [10, 20, 30], tmp_path / "p.png", "start", (marked, "chosen"))
        pictures.append(load_image(tmp_path / "p.png"))
    assert pictures[0].shape == (456, 960, 3)
    for color, half in (((0xFF, 0x7F, 0x0E), np.s_[:, :480]), ((0x1F, 0x77, 0xB4), np.s_[:, 480:])):
        assert count(pictures[0][half], color) == count(pictures[0], color) > 100
        assert (pictures[0][half] != pictures[1][half]).any()


@pytest.mark.parametrize(
    "text", ["", '{"step": 1, "lr": 0.1}\n', '{"step": 1, "loss": null}\n', '{"step": 1, "loss": NaN}\n']
)
def test_a_log_without_losses_is_refused(tmp_path, text):
    log = tmp_path / "log.jsonl"
    log.write_text(text)
    with pytest.raises(InputError, match="no losses"):
        plots.plot_losses(log, tmp_path / "loss.png")
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.parametrize("line", [b"half", b"[1]", b"3", b'{"loss": 1}', b'{"step": 2, "lo\xe7s": "\xff}'])
def test_a_damaged_line_is_told_and_left_out(tmp_path, caplog, line):
    log, whole = tmp_path / "log.jsonl", tmp_path / "whole.jsonl"
    lines = [b'{"step": 1, "loss": 1}\n', b'{"step": 2, "loss": 1}\n']
    log.write_bytes(lines[0] + line + b"\n" + lines[1])
    whole.write_bytes(b"".join(lines))
    for path in (log, whole):
        plots.plot_losses(path, path.with_suffix(".png"))
    assert log.with_suffix(".png").read_bytes() == whole.with_suffix(".png").read_bytes()
    assert [record.getMessage() for record in caplog.records] == [f"{log}: line 2 is damaged, and left out"]


def test_a_log_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="missing"):
        plots.plot_losses(tmp_path / "missing", tmp_path / "loss.png")


def test_a_step_logged_twice_counts_with_its_last_value():
    records = [{"step": 2, "loss": 5.0}, {"step": 1, "loss": 4.0}, {"step": 2, "loss": 3.0}]
    steps, values = plots._series(records, "loss")
    assert steps.tolist() == [1, 2] and values.tolist() == [4.0, 3.0]


def test_smoothing_keeps_a_constant_and_calms_noise():
    np.testing.assert_allclose(plots._smooth(np.full(300, 0.7)), 0.7)
    noise = np.random.default_rng(0).standard_normal(4000)
    # an exponential average with weight 1/n leaves 1/(2n-1) of the variance; here n = 100
    assert plots._smooth(noise)[500:].std() == pytest.approx((1 / 199) ** 0.5, rel=0.3)


def test_dots_of_every_score_and_name(tmp_path):
    dots = [plots.Dot(1.0, (0.5, 1.5), 2.0), plots.Dot(3.0, (2.9, 3.2), None)]
    plots.plot_dots({"M": dots, "S": dots}, ["a", "b"], tmp_path / "dots.png")
    plot = load_image(tmp_path / "dots.png")
    halves = plot[:, : plot.shape[1] // 2], plot[:, plot.shape[1] // 2 :]
    for half in halves:
        assert count(half, (0x1F, 0x77, 0xB4)) > 50 and count(half, (0xFF, 0x7F, 0x0E)) > 10  # values, printed ones
