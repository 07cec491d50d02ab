"""What the benchmarks' figures rest on: equal weights, compared answers, a duel that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import duel, sizes

PROJECT = Path(__file__).resolve().parents[2]

WORKER = """
import sys
import numpy as np
from benchmarks.common import duel
duel.TURN_SECONDS = 0
duel.serve(lambda: {{"answer": np.array({values!r}.split(), float)}}, sys.argv[1])
"""


def contestant(*values: float) -> duel.Contestant:
    code = WORKER.format(values=" ".join(map(str, values)))
    return duel.Contestant(f"answers {values}", [sys.executable, "-c", code])


def test_both_sides_get_the_same_weights_in_whatever_order_they_list_them():
    shapes = [("conv.weight", (4, 3, 3, 3)), ("norm.weight", (4,)), ("conv.bias", (4,))]
    ours, theirs = dict(sizes.random_weights(shapes)), dict(sizes.random_weights(reversed(shapes)))
    assert ours.keys() == theirs.keys() == dict(shapes).keys()
    assert all(np.array_equal(ours[name], theirs[name]) and ours[name].dtype == np.float32 for name in ours)
    assert all(ours[name].shape == shape and ours[name].all() for name, shape in shapes)


def test_codes_are_far_from_being_another_code():
    codebook = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    z = sizes.codes("demo", 2, codebook)
    height, width = sizes.LATENT_SIZES["demo"]
    assert z.shape == (2, 3, height, width)
    distances = np.linalg.norm(z.transpose(0, 2, 3, 1).reshape(-1, 1, 3) - codebook, axis=2)
    assert (distances.min(1) == 0).all()


def test_a_duel_times_everyone(capsys):
    results = duel.duel([contestant(1.0, -2.0), contestant(1.0, -2.001)], turns=3)
    assert len(results) == 2
    assert all(0 < result.seconds < 1 and 0 < result.resident <= result.peak for result in results)
    assert "answer 5.0e-04" in capsys.readouterr().out


@pytest.mark.parametrize("values", [(1.0, -2.1), (1.0, float("nan"))])
def test_a_duel_refuses_another_answer(values):
    with pytest.raises(SystemExit, match="do not compute the same"):
        duel.duel([contestant(1.0, -2.0), contestant(*values)], turns=1)


def test_a_duel_may_overlook_a_share_of_the_values():
    answers = [contestant(*[2.0] * 100), contestant(*[2.0] * 98, 1.0, 1.0)]
    duel.duel(answers, turns=1, share=0.95)
    with pytest.raises(SystemExit):
        duel.duel(answers, turns=1, share=0.99)


def test_a_worker_that_fails_ends_the_duel():
    with pytest.raises(SystemExit, match="stopped with status 3"):
        duel.duel([duel.Contestant("broken", [sys.executable, "-c", "raise SystemExit(3)"])], turns=1)


@pytest.mark.slow
def test_files_of_the_released_format_become_an_image_stage_by_stage(tmp_path):
    command = [sys.executable, "-m", "benchmarks.speed.released", "--config", "smoke", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    assert "decoded to 64x48, finite: True" in done.stdout
    stages = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("|")]
    assert stages[2:] == ["write", "convert", "load", "guided DDIM step", "decode"]
    assert list(tmp_path.iterdir()) == []
