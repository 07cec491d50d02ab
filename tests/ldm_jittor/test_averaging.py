"""The mean of checkpoint files: its numbers, what does not fit together, and that no file is ever in memory whole."""

from __future__ import annotations

import json
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ldm_jittor import averaging, checkpoint
from ldm_jittor.errors import CheckpointError


def write(path, **arrays):
    checkpoint.save(path, arrays, {"step": 1})
    return path


def random_arrays(seed, dtype=np.float32):
    rng = np.random.default_rng(seed)
    shapes = {"unet.w": (7, 3, 2), "unet.scale": (), "b": (5,), "empty": (0, 4)}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("weights", [[1, 1], [0.2, 3], [1, 2, 4]])
def test_the_weighted_mean_in_the_stored_dtype(tmp_path, dtype, weights):
    states = [random_arrays(seed, dtype) for seed in range(len(weights))]
    sources = [write(tmp_path / f"{seed}.safetensors", **state) for seed, state in enumerate(states)]
    averaging.average(sources, tmp_path / "mean", averaging.normalised(weights), {"config": {"a": 1}})
    mean = checkpoint.load(tmp_path / "mean")
    assert mean.metadata == {"config": {"a": 1}} and mean.arrays.keys() == states[0].keys()
    for name, array in mean.arrays.items():
        expected = np.average([state[name].astype(np.float64) for state in states], axis=0, weights=weights)
        assert array.dtype == dtype and array.shape == states[0][name].shape
        np.testing.assert_allclose(array, expected, rtol=np.finfo(dtype).eps, atol=1e-15)


def test_sums_are_not_taken_in_the_stored_dtype(tmp_path):
    # in half precision 2048 + 1 is 2048, and 60000 + 60000 is infinite
    values = ([2048, 60000], [1, 60000], [1, 60000], [2, 60000])
    sources = [write(tmp_path / f"{i}", w=np.array(value, np.float16)) for i, value in enumerate(values)]
    averaging.average(sources, tmp_path / "mean", averaging.normalised([1] * 4), {})
    np.testing.assert_array_equal(checkpoint.load(tmp_path / "mean").arrays["w"], [513, 60000])


@pytest.mark.parametrize("extra", range(8))
def test_what_the_library_wrote_and_reads_back(tmp_path, extra):
    """Arrays of several item sizes, in the library's own order, aligned whatever the metadata's length."""
    arrays = {
        "i8": np.arange(3, dtype=np.int8),
        "half": np.ones(5, np.float16),
        "f": np.full(3, 7.0),
        "flag": np.array(True),
    }
    source, target = tmp_path / "a", tmp_path / "mean"
    save_file(arrays, source, {"format": "np"})
    averaging.average([source, source], target, [0.5, 0.5], {"long": "x" * extra})
    assert header_of(target)[0] % 8 == 0
    assert header_of(target)[1] == header_of(source)[1]
    for name, array in checkpoint.load(target).arrays.items():
        np.testing.assert_array_equal(array, arrays[name], strict=True)


def header_of(path):
    """Length of the header, and what it says of the arrays."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    del header["__metadata__"]
    return length, header


def test_integers_must_be_equal(tmp_path):
    for name, count in (("a", 3), ("b", 3), ("c", 4)):
        write(tmp_path / name, w=np.zeros(2, np.float32), count=np.array([count]))
    sources = [tmp_path / name for name in "abc"]
    averaging.average(sources[:2], tmp_path / "mean", [0.5, 0.5], {})
    assert checkpoint.load(tmp_path / "mean").arrays["count"].tolist() == [3]
    (tmp_path / "mean").unlink()
    with pytest.raises(CheckpointError, match=f"{tmp_path / 'c'} .*count"):
        averaging.average(sources, tmp_path / "mean", [0.3, 0.3, 0.4], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_all_that_does_not_fit_is_listed(tmp_path):
    first = write(tmp_path / "a", same=np.zeros(2), shape=np.zeros((2, 3)), dtype=np.zeros(1), gone=np.zeros(1))
    other = write(
        tmp_path / "b", same=np.zeros(2), shape=np.zeros((3, 2)), dtype=np.zeros(1, np.float32), more=np.zeros(1)
    )
    with pytest.raises(CheckpointError) as caught:
        averaging.average([first, first, other], tmp_path / "mean", [0.3, 0.3, 0.4], {})
    message = str(caught.value)
    assert message.startswith(f"{other} does not fit {first}: ") and "\n" not in message and "same" not in message
    for part in ("gone is missing", "more is surplus", "shape is F64 3x2, not F64 2x3", "dtype is F32 1, not F64 1"):
        assert part in message
    assert not (tmp_path / "mean").exists()
    many = write(tmp_path / "c", **{f"w{i}": np.zeros(1) for i in range(9)})
    with pytest.raises(CheckpointError, match="and 9 more"):  # of 4 missing and 9 surplus
        averaging.common_layout([first, many])


def test_files_of_other_formats_are_refused(tmp_path):
    good = write(tmp_path / "good", w=np.zeros(1))
    (tmp_path / "released.pkl").write_bytes(pickle.dumps({"w": np.zeros(1)}))
    (tmp_path / "empty").touch()
    (tmp_path / "cut").write_bytes(good.read_bytes()[:-1])
    for bad in ("released.pkl", "empty", "cut", "."):
        with pytest.raises(CheckpointError, match="not a safetensors checkpoint .*converted first"):
            averaging.common_layout([good, tmp_path / bad])
    with pytest.raises(CheckpointError, match="absent: no such checkpoint"):
        averaging.common_layout([tmp_path / "absent", good])


def test_a_dtype_that_numpy_lacks_is_refused(tmp_path):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode().ljust(64)
    (tmp_path / "b").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match="w is BF16"):
        averaging.common_layout([tmp_path / "b"] * 2)


def test_weights_are_normalised():
    assert averaging.normalised([1, 3]) == [0.25, 0.75]
    assert averaging.normalised([1e300, 1e300]) == [0.5, 0.5]
    with pytest.raises(ValueError, match="too large"):
        averaging.normalised([1e308, 1e308])
    for bad in ([1, 0], [-1, 2], [float("nan"), 1], [1, float("inf")]):
        with pytest.raises(ValueError, match="not a positive number"):
            averaging.normalised(bad)


def test_memory_is_that_of_a_few_arrays(tmp_path):
    sources, megabyte = [], 2**20
    for seed in range(3):
        rng = np.random.default_rng(seed)
        arrays = {f"w{i}": rng.normal(size=megabyte // 4).astype(np.float32) for i in range(30)}
        sources.append(write(tmp_path / str(seed), **arrays))
    del arrays
    written, peaks = [], [resident()]

    def on_array(nbytes):
        written.append(nbytes)
        peaks.append(resident())

    averaging.average(sources, tmp_path / "mean", [0.2, 0.3, 0.5], {}, on_array)
    assert written == [megabyte] * 30
    assert max(peaks) - peaks[0] < 15 * megabyte


def resident() -> int:
    """Bytes of this process in memory, pages of mapped files among them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_an_average_that_breaks_off_leaves_the_old_file(tmp_path):
    source, target = write(tmp_path / "a", w=np.zeros(3)), write(tmp_path / "old", w=np.ones(3))

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        averaging.average([source, source], target, [0.5, 0.5], {}, stop)
    assert checkpoint.load(target).arrays["w"].tolist() == [1, 1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "old"]


def test_the_mean_has_the_checksum_that_saving_it_gives(tmp_path):
    sources = [write(tmp_path / f"{seed}", **random_arrays(seed)) for seed in (1, 2)]
    averaging.average(sources, tmp_path / "mean", [0.5, 0.5], {"step": 2})
    mean = checkpoint.load(tmp_path / "mean")  # which compares it
    checkpoint.save(tmp_path / "saved", mean.arrays, mean.metadata)
    texts = [json.loads((tmp_path / name).read_bytes()[8:].split(b"}}", 1)[0] + b"}}") for name in ("mean", "saved")]
    assert texts[0] == texts[1] and "checksum" in texts[0]["__metadata__"][checkpoint.METADATA_KEY]


@pytest.mark.parametrize("place", [-1, -170])
def test_a_damaged_source_is_found_and_nothing_written(tmp_path, place):
    sources = [write(tmp_path / f"{seed}", **random_arrays(seed)) for seed in (1, 2)]
    content = bytearray(sources[1].read_bytes())
    content[place] ^= 1
    sources[1].write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{sources[1]}: damaged"):
        averaging.average(sources, tmp_path / "mean", [0.5, 0.5], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_source_that_is_not_finite_is_named_with_its_array(tmp_path):
    good = write(tmp_path / "good", w=np.ones(2, np.float32))
    save_file({"w": np.array([1, np.nan], np.float32)}, tmp_path / "bad")
    with pytest.raises(CheckpointError, match=f"{tmp_path / 'bad'}: w is not finite"):
        averaging.average([good, tmp_path / "bad"], tmp_path / "mean", [0.5, 0.5], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]
