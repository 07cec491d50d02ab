"""Loading and use; that the ratings are a PyTorch NIMA's is shown in tests/parity/test_parity_evaluators.py."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jiidm.evaluate import nima
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError


@pytest.fixture(scope="module")
def state():
    return checkpoint.state_dict(nima.Nima())


def make_network(state, folder, **changes):
    checkpoint.save(folder / "nima", {**state, **{name.replace("__", "."): a for name, a in changes.items()}}, {})
    return nima.load(folder / "nima")


def images(count=2, height=30, width=40):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_layout_is_the_published_files(state):
    assert len(state) == 28 and state["features.28.weight"].shape == (512, 512, 3, 3)
    assert state["classifier.1.weight"].shape == (10, 25088)


@pytest.mark.parametrize("favoured, score", [(None, 0.55), (1, 0.1), (10, 1.0), (5, 0.5)])
def test_the_score_is_a_tenth_of_the_mean_rating(state, tmp_path, favoured, score):
    bias = np.zeros(10, np.float32)
    if favoured:
        bias[favoured - 1] = 50
    network = make_network(
        state, tmp_path, classifier__1__weight=np.zeros((10, 25088), np.float32), classifier__1__bias=bias
    )
    scores = network.scores(images())
    assert scores.shape == (2,) and scores == pytest.approx(score, abs=1e-6)


def test_dropout_is_off(state, tmp_path):
    network = make_network(state, tmp_path)
    assert np.array_equal(network.scores(images()), network.scores(images()))


@pytest.mark.parametrize("size", [(384, 512), (512, 384), (30, 40), (256, 257), (224, 1000), (224, 224)], ids=str)
def test_the_middle_is_looked_at(size):
    height, width = size
    gradient = np.zeros((height, width, 3), np.uint8)
    gradient[..., 0] = np.linspace(0, 255, width)[None]
    gradient[..., 1] = np.linspace(0, 255, height)[:, None]
    crop = nima._crop(gradient)
    assert crop.shape == (224, 224, 3)
    assert crop[..., 0].mean() == pytest.approx(127.5, abs=2) and crop[..., 1].mean() == pytest.approx(127.5, abs=2)


# 618x206: in floating point 618 * (256 / 206) falls just below 768
@pytest.mark.parametrize("size, resized", [((384, 512), (256, 341)), ((618, 206), (768, 256))], ids=str)
def test_a_small_side_becomes_256_pixels(size, resized):
    photo = images(1, *size)[0]
    top, left = (resized[0] - 224) // 2, (resized[1] - 224) // 2
    expected = np.asarray(Image.fromarray(photo).resize(resized[::-1], Image.Resampling.BILINEAR))
    assert np.array_equal(nima._crop(photo), expected[top : top + 224, left : left + 224])


def test_weights_of_another_network_are_refused(state, tmp_path):
    other = {name: array for name, array in state.items() if not name.startswith("classifier")}
    checkpoint.save(tmp_path / "other", {**other, "classifier.0.weight": np.zeros((4096, 25088), np.float32)}, {})
    with pytest.raises(
        CheckpointError, match=r"other: not the weights of NIMA VGG-16.*classifier\.1\.weight is missing"
    ):
        nima.load(tmp_path / "other")
