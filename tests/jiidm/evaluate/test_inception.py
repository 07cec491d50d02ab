"""Loading and use; that the features are pytorch-fid's is shown in tests/parity/test_parity_evaluators.py."""

from __future__ import annotations

import hashlib

import jittor as jt
import numpy as np
import pytest

from jiidm.evaluate import inception
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError


@pytest.fixture(scope="module")
def state():
    return checkpoint.state_dict(inception.FidInception())


@pytest.fixture(scope="module")
def weights(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    checkpoint.save(path, state, {})
    return path


def test_an_average_leaves_the_padding_out():
    block = inception._BlockA(3, pool_features=3)
    block.eval()
    block.branch_pool = lambda x: x
    pooled = block._forward(jt.ones((1, 3, 5, 6)))[-1].numpy()
    assert np.allclose(pooled, 1, atol=1e-6)


def test_the_last_block_takes_the_maximum():
    block = inception._LastBlockE(2)
    block.eval()
    block.branch_pool = lambda x: x
    x = np.zeros((1, 2, 4, 5), np.float32)
    x[:, :, 0, 0] = 7
    pooled = block._forward(jt.array(x))[-1].numpy()
    assert (pooled[0, 0] == 7).sum() == 4 and pooled.max() == 7


def test_features_of_any_image_size(weights):
    network = inception.load(weights)
    images = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    features = network.features(images)
    assert features.shape == (2, 2048) and features.dtype == np.float32
    # after loading it is in evaluation mode: an image's features do not depend on its neighbours
    assert np.allclose(network.features(images[1:]), features[1:], rtol=1e-4, atol=1e-6 * abs(features).max())
    assert (network.name, network.sha256) == (
        "FID Inception-v3",
        hashlib.sha256(weights.read_bytes()).hexdigest(),
    )


def test_pytorchs_batch_counters_are_no_weights(state, tmp_path):
    counters = {
        name.replace("running_var", "num_batches_tracked"): np.array(0) for name in state if "running_var" in name
    }
    checkpoint.save(tmp_path / "w", {**state, **counters}, {})
    assert isinstance(inception.load(tmp_path / "w"), inception.Inception)


def torchvisions(state):
    state["fc.weight"], state["fc.bias"] = state["fc.weight"][:1000], state["fc.bias"][:1000]
    return "fc.weight is 1000x2048, not 1008x2048"


def incomplete(state):
    del state["Mixed_7c.branch_pool.bn.running_mean"]
    return "Mixed_7c.branch_pool.bn.running_mean is missing"


def with_an_auxiliary_head(state):
    state["AuxLogits.conv0.conv.weight"] = np.zeros((128, 768, 1, 1), np.float32)
    return "AuxLogits.conv0.conv.weight is surplus"


@pytest.mark.parametrize("change", [torchvisions, incomplete, with_an_auxiliary_head])
def test_weights_of_another_network_are_refused(state, tmp_path, change):
    other = dict(state)
    message = change(other)
    checkpoint.save(tmp_path / "other", other, {})
    with pytest.raises(CheckpointError, match="other: not the weights of the FID Inception-v3") as refused:
        inception.load(tmp_path / "other")
    assert message in str(refused.value)
