"""VGG-19 out of torchvision's file. tests/parity compares its features."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
import torch_files
from gan_weights import draw

from jiidm.model.gan import vgg
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError

CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
"""Their positions in torchvision's `features`."""
WIDTHS = [64] * 2 + [128] * 2 + [256] * 4 + [512] * 8


def test_names_and_shapes_are_those_of_torchvision():
    expected = {}
    for position, before, width in zip(CONVOLUTIONS, [3, *WIDTHS], WIDTHS):
        expected |= {f"features.{position}.weight": (width, before, 3, 3), f"features.{position}.bias": (width,)}
    assert {name: tuple(value.shape) for name, value in vgg.VGG19().named_parameters()} == expected


@pytest.fixture
def state(monkeypatch):
    """Of a network of that depth, one channel wide."""
    monkeypatch.setattr(vgg, "STAGES", tuple((1, count) for _, count in vgg.STAGES))
    return draw({name: tuple(value.shape) for name, value in vgg.VGG19().named_parameters()})


def test_torchvisions_file_is_read_without_its_classifier(state, tmp_path):
    torch_files.save(tmp_path / "vgg19.pth", {**state, "classifier.0.weight": np.ones((2, 3), np.float32)})
    network = vgg.load_vgg19(tmp_path / "vgg19.pth")
    for name, array in checkpoint.state_dict(network).items():
        np.testing.assert_array_equal(array, state[name])
    assert [features.shape for features in network(jt.zeros((2, 3, 32, 64)))] == [
        [2, 1, 32 // step, 64 // step] for step in (1, 2, 4, 8, 16)
    ]


def test_file_of_another_network_is_refused(state, tmp_path):
    del state["features.34.bias"]
    torch_files.save(tmp_path / "a.pth", {**state, "features.35.weight": np.ones(1, np.float32)})
    with pytest.raises(
        CheckpointError, match="a.pth: not .* VGG-19; .*34.bias is missing; features.35.weight is surplus"
    ):
        vgg.load_vgg19(tmp_path / "a.pth")
