"""The yardstick by which trainings are compared, and a short comparison from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.alignment import parts, record
from benchmarks.alignment.__main__ import recorded
from benchmarks.alignment.verdict import FIRST_LIMIT, FLOOR, beyond_border, distance, judge, relative

PROJECT = Path(__file__).resolve().parents[2]
GROWING = 1e-5 * np.arange(1, 31)
"""The yardstick's differences over 30 steps."""


def test_the_difference_is_relative_to_pytorch():
    assert relative([1.5, -3.0], [1.0, -2.0]) == pytest.approx([0.5, 0.5])


def test_twice_the_yardstick_is_within_the_limit_and_more_is_not():
    first_ten = np.where(np.arange(30) < 10, 1.0, 2.0) * GROWING
    assert judge(first_ten, GROWING).breach is None
    first_ten[20] *= 1.01
    verdict = judge(first_ten, GROWING)
    assert not verdict.passed and (verdict.breach, verdict.broken) == (21, 1)
    assert verdict.excess == pytest.approx(1.01)
    assert (verdict.largest, verdict.yardstick) == pytest.approx((6e-4, 3e-4))


def test_what_counts_is_the_largest_difference_so_far():
    yardstick = GROWING.copy()
    yardstick[20:] = 0.0  # it falls, as differences of a training do
    assert judge(GROWING, yardstick).passed
    assert not judge(2.2 * GROWING, yardstick).passed


def test_rounding_is_no_breach_where_the_yardstick_has_none():
    assert judge(np.full(30, FLOOR), np.zeros(30)).passed
    assert judge(np.full(30, 3 * FLOOR), np.zeros(30)).breach == 1


def test_the_first_steps_have_a_limit_of_their_own():
    apart = np.full(30, 1e-2)
    assert judge(apart, apart).breach == 1
    apart[:10] = 0.9 * FIRST_LIMIT
    assert judge(apart, apart).passed


def test_the_first_steps_are_those_of_the_training_not_of_a_term_that_joins_later():
    apart = np.full(30, 1e-2)
    assert judge(apart, apart, joined=8).breach == 9
    assert judge(apart, apart, joined=10).passed
    assert judge(3 * apart, apart, joined=10).breach == 11


def test_a_difference_that_is_no_number_breaks_the_limit():
    apart = GROWING.copy()
    apart[4] = np.nan
    assert judge(apart, GROWING).breach == 5


def test_a_distance_is_relative_to_how_far_training_moved():
    start, oracle = np.array([1.0, 1.0]), np.array([4.0, 5.0])
    assert distance([(oracle + [0.0, 0.5], oracle, start)]) == pytest.approx(0.5 / 5)
    assert distance([(oracle * 1.01, oracle, 0)]) == pytest.approx(0.01)


def test_a_latent_is_beyond_a_border_by_its_distance_to_the_plane_between_the_codes():
    latents, given, own = np.array([[3.0, 4.0], [3.0, 4.0]]), np.array([[0.0, 9.0], [0.0, 1.0]]), np.array([[4.0, 1.0]])
    plane = (given[0] + own[0]) / 2
    distance_to_it = (latents[0] - plane) @ (own[0] - given[0]) / np.linalg.norm(own[0] - given[0])
    own = np.stack([own[0], given[1]])
    assert beyond_border(latents, given, own) == pytest.approx([distance_to_it / 5, 0.0])


@pytest.mark.parametrize("beyond, passes", [(1.9e-3, True), (2.1e-3, False)])
def test_pytorch_may_choose_another_code_where_latents_differ_that_much(tmp_path, beyond, passes):
    steps, latents = 12, np.ones((12, 1, 3, 1, 2), np.float32)
    borders = np.zeros((steps, 2))
    borders[11, 1] = beyond
    for end in (record.TORCH, *record.YARDSTICKS):
        (tmp_path / end).mkdir()
        moved = latents.copy()
        moved[11] *= 1 + 1e-3 * (end == record.KERNELS[0])
        np.savez(tmp_path / end / parts.ARRAYS, latents=moved, borders=borders)
    found = record.codes(tmp_path)
    assert (found["otherwise"], found["of"]) == (1, 24)
    assert found["breach"] == (None if passes else 12)
    assert record.passed({"repeats": True, "verdicts": {}, "codes": found}) is passes


def test_records_of_earlier_calls_stay_on_the_page_until_the_settings_change(tmp_path, capsys):
    full = {"part": "full", "config": parts.PARTS["full"].config, "changes": parts.PARTS["full"].changes}
    others = {"part": "unet", "config": parts.PARTS["unet"].config, "changes": ["seed=1"]}
    fewer = {"part": "autoencoder", "config": parts.PARTS["autoencoder"].config}
    for made, ends in ((full, record.ENDS), (others, record.ENDS), (fewer, record.ENDS[:3])):
        made = {"changes": parts.PARTS["autoencoder"].changes, **made, "ends": dict.fromkeys(ends)}
        (tmp_path / f"{made['part']}.json").write_text(json.dumps(made))
    assert [made["part"] for made in recorded(tmp_path, short=False)] == ["full"]
    told = capsys.readouterr().err
    assert "unet.json was made at other settings" in told and "autoencoder.json was made at other settings" in told


@pytest.mark.slow
@pytest.mark.parity
def test_ten_steps_of_both_ends_agree(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.alignment",
        "--short",
        "--out",
        tmp_path,
        "--folder",
        tmp_path / "work",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stderr[-2000:]
    for part, terms in (("unet", ["simple"]), ("autoencoder", ["reconstruction", "discriminator"])):
        made = json.loads((tmp_path / f"{part}.json").read_text())
        for term in terms:
            ours, theirs = (made["ends"][end]["losses"][term] for end in (record.JITTOR, record.TORCH))
            assert len(ours) > 5 and relative(ours, theirs).max() < FIRST_LIMIT
            assert max(relative(ours[1:], theirs[:-1])) > FIRST_LIMIT  # they are no constants
    assert {path.name for path in tmp_path.iterdir()} >= {"losses.png", "unet.jpg", "autoencoder.jpg"}
