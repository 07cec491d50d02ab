"""Files of LPIPS; that its numbers are right is shown in tests/parity/test_parity_lpips.py."""

from __future__ import annotations

import numpy as np
import pytest

from jiidm.evaluate import lpips
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError


@pytest.fixture(scope="module")
def state():
    rng = np.random.default_rng(0)
    shapes = {name: tuple(parameter.shape) for name, parameter in lpips.LPIPS().named_parameters()}
    return {name: rng.uniform(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def as_one_file(state):
    """What `lpips.LPIPS(net="vgg").state_dict()` calls these: slices of VGG, and each weight twice."""
    ends = [4, 9, 16, 23, 30]
    theirs = {"scaling_layer.shift": np.zeros((1, 3, 1, 1), np.float32)}
    for name, array in state.items():
        module, number, *_ = name.split(".")
        if module == "features":
            slice_ = 1 + sum(int(number) >= end for end in ends)
            theirs[name.replace("features", f"net.slice{slice_}")] = array
        else:
            theirs[name.replace(".", ".model.1.")] = theirs[f"lins.{module[-1]}.model.1.weight"] = array
    return theirs


def test_one_file_or_two_give_the_same_network(state, tmp_path):
    checkpoint.save(tmp_path / "one", as_one_file(state), {})
    halves = {"vgg16": "features", "vgg": "lin"}
    for name, start in halves.items():
        checkpoint.save(tmp_path / name, {key: a for key, a in state.items() if key.startswith(start)}, {})
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    one, two = lpips.load([tmp_path / "one"]), lpips.load([tmp_path / name for name in halves])
    np.testing.assert_array_equal(one.chain(images), two.chain(images))
    assert one.chain(images).shape == (2,) and (one.chain(images) > 0).all()
    assert (one.chain(images[[0, 0]]) == 0).all()


def test_half_of_the_weights_and_others_are_refused(state, tmp_path):
    checkpoint.save(tmp_path / "vgg16", {key: a for key, a in state.items() if key.startswith("features")}, {})
    with pytest.raises(CheckpointError, match=r"vgg16: not the weights of LPIPS.*lin0"):
        lpips.load([tmp_path / "vgg16"])
    checkpoint.save(tmp_path / "wrong", {**state, "lin2.weight": -state["lin2.weight"]}, {})
    with pytest.raises(CheckpointError, match="wrong: .*not negative"):
        lpips.load([tmp_path / "wrong"])
