"""Checkpoint files: what comes back, what is refused, what is never half-written."""

import pickle

import jittor as jt
import numpy as np
import pytest
import torch_files
from jittor import nn
from safetensors.numpy import save_file

from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {"weight": rng.standard_normal((2, 3)).astype(np.float32), "bias": rng.standard_normal(2).astype(np.float16)}


def test_saved_arrays_and_metadata_are_loaded_as_they_were(tmp_path, arrays):
    metadata = {"config": {"unet": {"channels": [1, 2]}}, "step": 7}
    checkpoint.save(tmp_path / "new" / "a.safetensors", arrays, metadata)
    loaded = checkpoint.load(tmp_path / "new" / "a.safetensors")
    assert loaded.metadata == metadata == checkpoint.load_metadata(tmp_path / "new" / "a.safetensors")
    for name, array in arrays.items():
        assert loaded.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded.arrays[name], array)


@pytest.mark.parametrize("text", ["[1]", "null", '"config"', "{", "[" * 10**5])
def test_metadata_that_are_no_mapping_are_refused(tmp_path, arrays, text):
    save_file(arrays, tmp_path / "a.safetensors", {checkpoint.METADATA_KEY: text})
    with pytest.raises(CheckpointError, match=r"a\.safetensors: not a readable checkpoint"):
        checkpoint.load_metadata(tmp_path / "a.safetensors")


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


def test_scalars_stay_scalars(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", {"s": np.array(2.5)}, {})
    assert checkpoint.load(tmp_path / "a.safetensors").arrays["s"].shape == ()


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
    for content in (b"\x80\x04pickle", b"PK\x03\x04zip", b"text", b"", b"{", b"a text of some length {"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="a.safetensors: ") as caught:
            checkpoint.load(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.pkl", "a.ckpt", "a.pth", "a.safetensors"])
def test_the_content_tells_the_format(tmp_path, arrays, name):
    path = tmp_path / name
    for write in (
        lambda: path.write_bytes(pickle.dumps(arrays)),
        lambda: jt.save(arrays, str(tmp_path / "b")),
        lambda: torch_files.save(path, arrays, epoch=3),
        lambda: checkpoint.save(path, arrays, {}),
    ):
        write()
        if (tmp_path / "b").exists():
            (tmp_path / "b").replace(path)
        loaded = checkpoint.load(path)
        assert loaded.metadata == checkpoint.load_metadata(path) == {}
        assert loaded.arrays.keys() == arrays.keys()
        for key, array in arrays.items():
            np.testing.assert_array_equal(loaded.arrays[key], array)


def test_a_diffusers_folder_stands_for_its_weights(tmp_path, arrays):
    with pytest.raises(CheckpointError, match=r"a folder without diffusion_pytorch_model\.safetensors"):
        checkpoint.load(tmp_path)
    for number, name in enumerate((".bin", ".fp16.safetensors", ".safetensors")):
        path = tmp_path / f"diffusion_pytorch_model{name}"
        state = {"a": np.full(2, number, np.float32)}
        torch_files.save(path, state) if name == ".bin" else checkpoint.save(path, state, {})
        assert checkpoint.weights_file(tmp_path) == path
        np.testing.assert_array_equal(checkpoint.load(tmp_path).arrays["a"], [number, number])


def test_hostile_files_are_named_with_what_they_ask_for(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(CheckpointError, match=r"a\.pkl: asks to call os\.system: refused"):
        checkpoint.load(tmp_path / "a.pkl")


def test_a_file_that_cannot_be_written_is_named(tmp_path, arrays):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"file/a\.safetensors: cannot be written"):
        checkpoint.save(tmp_path / "file" / "a.safetensors", arrays, {})


def test_misfits_are_all_listed():
    linear = nn.Linear(3, 2)
    arrays = {"weight": np.zeros((3, 2)), **{f"more.{i}": np.zeros(1) for i in range(9)}}
    expected = {"bias is missing", "weight is 3x2, not 2x3", *(f"more.{i} is surplus" for i in range(9))}
    assert set(checkpoint.misfits(linear, arrays)) == expected
    assert checkpoint.misfits(linear, {"weight": np.zeros((2, 3)), "bias": np.array(1)}) == ["bias is a scalar, not 2"]
    diverged = {"weight": np.full((2, 3), np.nan), "bias": np.array([0, np.inf])}
    assert checkpoint.misfits(linear, diverged) == ["weight is not finite", "bias is not finite"]
    beyond_float32 = {"weight": np.full((2, 3), 1e39), "bias": np.array([0.0, 1.0])}
    assert checkpoint.misfits(linear, beyond_float32) == ["weight is not finite"]


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


def test_prefixes_keep_networks_apart():
    both = {**checkpoint.with_prefix("unet", {"a": 1}), **checkpoint.with_prefix("unet_ema", {"a": 2})}
    assert checkpoint.under_prefix("unet", both) == {"a": 1}


def test_state_dict_has_the_modules_values():
    linear = nn.Linear(3, 2)
    linear.weight.assign(jt.full((2, 3), 4.0))
    assert set(checkpoint.state_dict(linear)) == {"weight", "bias"}
    assert (checkpoint.state_dict(linear)["weight"] == 4).all()


def flipped(path, place):
    """The file with one bit of the byte at `place` flipped."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_any_flipped_bit_of_the_arrays_is_found(tmp_path, arrays):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, arrays, {})
    whole = path.read_bytes()
    length = sum(array.nbytes for array in arrays.values())
    for place in range(len(whole) - length, len(whole)):
        path.write_bytes(whole)
        flipped(path, place)
        with pytest.raises(CheckpointError, match=r"a\.safetensors: damaged"):
            checkpoint.load(path)


def test_changed_metadata_names_shapes_and_types_are_found(tmp_path, arrays):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"weight": np.zeros((2, 3), np.float32)}, {"latent_scale": 1.25})
    whole = path.read_bytes()
    for before, after in ((b"1.25", b"1.24"), (b'"weight"', b'"waight"'), (b"[2,3]", b"[3,2]"), (b"F32", b"I32")):
        assert whole.count(before) == 1
        path.write_bytes(whole.replace(before, after))
        with pytest.raises(CheckpointError, match=r"a\.safetensors: damaged"):
            checkpoint.load(path)


def test_checksum_does_not_depend_on_order_of_arrays(tmp_path, arrays):
    for name, given in (("a", arrays), ("b", dict(reversed(arrays.items())))):
        checkpoint.save(tmp_path / name, given, {"step": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_without_checksum_is_loaded_with_one_note(tmp_path, arrays, caplog):
    caplog.set_level("INFO", "ldm_jittor")
    path = tmp_path / "a.safetensors"
    save_file(arrays, path, {checkpoint.METADATA_KEY: '{"step": 3}'})
    for _ in range(2):
        assert checkpoint.load(path).metadata == {"step": 3}
    (line,) = caplog.messages
    assert str(path) in line and "no checksum" in line


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_arrays_that_are_not_finite_are_not_written(tmp_path, arrays, value):
    arrays["weight"][1, 2] = value
    with pytest.raises(CheckpointError, match=r"a\.safetensors: not written: weight is not finite"):
        checkpoint.save(tmp_path / "a.safetensors", arrays, {})
    assert list(tmp_path.iterdir()) == []
