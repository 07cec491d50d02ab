"""Checkpoint files: what comes back, what is refused, what is never half-written."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from ldm_jittor import checkpoint
from ldm_jittor.checkpoint import CheckpointError


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {"weight": rng.standard_normal((2, 3)).astype(np.float32), "bias": rng.standard_normal(2).astype(np.float16)}


def test_round_trip(tmp_path, arrays):
    metadata = {"config": {"unet": {"channels": [1, 2]}}, "step": 7}
    checkpoint.save(tmp_path / "new" / "a.safetensors", arrays, metadata)
    loaded = checkpoint.load(tmp_path / "new" / "a.safetensors")
    assert loaded.metadata == metadata == checkpoint.load_metadata(tmp_path / "new" / "a.safetensors")
    for name, array in arrays.items():
        assert loaded.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded.arrays[name], array)


def test_others_can_read_the_file(tmp_path, arrays):
    checkpoint.save(tmp_path / "a.safetensors", arrays, {})
    (tmp_path / "plain").touch()
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_views_are_saved_as_what_they_show(tmp_path):
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    checkpoint.save(tmp_path / "a.safetensors", {"t": base.T, "s": base[:, ::2]}, {})
    loaded = checkpoint.load(tmp_path / "a.safetensors").arrays
    np.testing.assert_array_equal(loaded["t"], base.T)
    np.testing.assert_array_equal(loaded["s"], base[:, ::2])


def test_failed_save_leaves_the_old_file(tmp_path, arrays):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, arrays, {"step": 1})
    with pytest.raises(TypeError):
        checkpoint.save(path, arrays, {"step": object()})
    assert checkpoint.load_metadata(path) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


def test_missing_truncated_and_foreign_files_are_named(tmp_path, arrays):
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="a.safetensors: no such"):
        checkpoint.load(path)
    checkpoint.save(path, arrays, {})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="a.safetensors"):
        checkpoint.load(path)
    path.write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="a.safetensors"):
        checkpoint.load(path)


def test_load_into_names_every_kind_of_misfit(arrays):
    linear = nn.Linear(3, 2)
    before = linear.weight.numpy().copy()
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_into(linear, {"weight": np.zeros((3, 2), np.float32), "scale": np.zeros(1)}, "file.safetensors")
    message = str(caught.value)
    assert "\n" not in message
    for part in ("file.safetensors", "bias is missing", "scale is surplus", "weight is 3x2, not 2x3"):
        assert part in message
    np.testing.assert_array_equal(linear.weight.numpy(), before)
    checkpoint.load_into(linear, arrays, "file.safetensors")
    np.testing.assert_array_equal(linear.bias.numpy(), arrays["bias"].astype(np.float32))


def test_prefixes():
    both = {**checkpoint.with_prefix("unet", {"a": 1}), **checkpoint.with_prefix("unet_ema", {"a": 2})}
    assert checkpoint.under_prefix("unet", both) == {"a": 1}


def test_average():
    states = [{"w": np.array([1.0, 4.0], np.float32)}, {"w": np.array([3.0, -2.0], np.float32)}]
    mean = checkpoint.average(states)["w"]
    np.testing.assert_array_equal(mean, [2.0, 1.0])
    assert mean.dtype == np.float32
    with pytest.raises(CheckpointError, match="w"):
        checkpoint.average([states[0], {"w": np.zeros(3, np.float32)}])
    with pytest.raises(CheckpointError, match="b"):
        checkpoint.average([states[0], {**states[1], "b": np.zeros(1)}])


def test_state_dict_has_the_modules_values():
    linear = nn.Linear(3, 2)
    linear.weight.assign(jt.full((2, 3), 4.0))
    assert set(checkpoint.state_dict(linear)) == {"weight", "bias"}
    assert (checkpoint.state_dict(linear)["weight"] == 4).all()
