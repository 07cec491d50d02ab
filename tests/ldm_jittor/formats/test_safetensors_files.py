from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError


def write(path, **arrays):
    """A safetensors file of (dtype, array) whose numbers are written as they lie in memory."""
    header, content = {}, b""
    for name, (kind, array) in arrays.items():
        data = array.tobytes()
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [len(content), len(content) + len(data)]}
        content += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def test_a_file_is_laid_out_as_by_safetensors_itself(tmp_path):
    arrays = {
        "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a": np.array(2.5),
        "ü": np.ones((2, 0), np.float16),
        "half": np.linspace(0, 1, 5, dtype=np.float16),
        "count": np.array([-1, 2**40]),
        "byte": np.arange(3, dtype=np.uint8),
        "mask": np.array([True, False]),
    }
    metadata = {"text": 'in "quotes", é\n'}
    checkpoint.safetensors_files.write(file := io.BytesIO(), arrays, metadata)
    assert file.getvalue() == save(arrays, metadata)
    with pytest.raises(KeyError):
        checkpoint.safetensors_files.write(io.BytesIO(), {"a": np.zeros(2, complex)}, {})


def test_bfloat16_is_widened(tmp_path):
    values = np.array([[1.5, -2.0, 0.0], [np.inf, 3.140625, 1e-38]], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    write(tmp_path / "a", w=("BF16", bits), other=("F32", values), none=("BF16", bits[:0]), one=("BF16", bits[0, 0]))
    found = checkpoint.load(tmp_path / "a").arrays
    assert [array.dtype for array in found.values()] == [np.float32] * 4
    np.testing.assert_array_equal(found["w"], (bits.astype(np.uint32) << 16).view(np.float32))
    assert found["w"][0].tolist() == [1.5, -2, 0] and found["w"][1, 1] == 3.140625
    np.testing.assert_array_equal(found["other"], values)
    assert found["none"].shape == (0, 3) and found["one"].shape == () and found["one"] == 1.5


def test_a_type_that_is_not_read_is_named(tmp_path):
    write(tmp_path / "a", small=("F8_E4M3", np.zeros(3, np.uint8)), w=("F32", np.zeros(1, np.float32)))
    with pytest.raises(CheckpointError, match=r"small is F8_E4M3 \(1 such"):
        checkpoint.load(tmp_path / "a")


@pytest.mark.parametrize("length", [0, 5, 8, 40, -1])
def test_a_file_cut_short_is_refused(tmp_path, length):
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "a")
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:length])
    with pytest.raises(CheckpointError, match=f"{tmp_path}/a: "):
        checkpoint.load(tmp_path / "a")


def test_names_hide_no_line(tmp_path):
    write(tmp_path / "a", **{"a\nb\x1b[2J": ("F8_E5M2", np.zeros(1, np.uint8))})
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(tmp_path / "a")
    assert str(caught.value).isprintable()
