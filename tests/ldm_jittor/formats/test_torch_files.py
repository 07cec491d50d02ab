"""Jittor's and PyTorch's files as named arrays. The real PyTorch is asked in tests/parity."""

from __future__ import annotations

import pickle
import zipfile
from pickle import UnpicklingError

import jittor as jt
import numpy as np
import pytest
from torch_files import Call, Name, contiguous, pickled, save, storage, tensor, write_legacy, write_zip

from ldm_jittor.formats import torch_files as foreign

WRITERS = {"zip": write_zip, "legacy": write_legacy}
VALUES = np.arange(24, dtype=np.float32)


def check(path, expected):
    found = foreign.read(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def refusal(path) -> str:
    with pytest.raises(UnpicklingError) as caught:
        foreign.read(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "unet.weight": rng.standard_normal((2, 3, 1, 1)).astype(np.float32),
        "half": rng.standard_normal(5).astype(np.float16),
        "count": np.array([[1, -2]], np.int64),
        "fortran": np.asfortranarray(rng.standard_normal((2, 3))),
        "big": np.arange(3, dtype=">f4"),
        "flag": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.array(2.5, np.float32),
    }


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickled_dict_of_arrays_is_read(tmp_path, arrays, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({**arrays, "epoch": 3, "names": ["x"]}, protocol))
    check(tmp_path / "a.pkl", arrays)


def test_what_jittor_saves_is_read(tmp_path, arrays):
    path = tmp_path / "a.pkl"
    arrays = {name: array for name, array in arrays.items() if array.size and name != "scalar"}
    variables = {
        name: jt.array(np.ascontiguousarray(array, array.dtype.newbyteorder("="))) for name, array in arrays.items()
    }
    expected = {name: value.numpy() for name, value in variables.items()}
    jt.save(variables, str(path))
    assert path.read_bytes().endswith(b"HCAJSLHD")
    check(path, expected)
    jt.save(expected, str(path))  # arrays instead of variables, as the released files may have them
    check(path, expected)


def test_a_module_saved_by_jittor_is_read(tmp_path):
    module = jt.nn.Sequential(jt.nn.Conv(3, 4, 3), jt.nn.Linear(4, 2))
    module.save(str(tmp_path / "a.pkl"))
    check(tmp_path / "a.pkl", {name: value.numpy() for name, value in module.named_parameters()})


def test_a_wrong_checksum_of_jittors_is_told(tmp_path):
    path = tmp_path / "a.pkl"
    jt.save({"a": VALUES}, str(path))
    content = bytearray(path.read_bytes())
    content[content.index(VALUES[5:].tobytes()[:4])] ^= 1  # one bit of one weight
    path.write_bytes(content)
    assert "checksum" in refusal(path)


def test_nested_names_are_joined_and_a_state_dict_is_the_file(tmp_path):
    tree = {"ema": {"a": VALUES, "deep": {"b": VALUES}}, "model": {"a": -VALUES}, "optimizer": [VALUES], 3: VALUES}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(tree))
    check(tmp_path / "a.pkl", {"ema.a": VALUES, "model.a": -VALUES, "ema.deep.b": VALUES})
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"state_dict": {"a": VALUES}, "loss": VALUES}))
    check(tmp_path / "b.pkl", {"a": VALUES})


def test_averages_beside_a_state_dict_are_read(tmp_path):
    tree = {"state_dict": {"a": VALUES}, "ema_state_dict": {"a": -VALUES}, "loss": VALUES, "schema": {"b": VALUES}}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(tree))
    check(tmp_path / "a.pkl", {"a": VALUES, "ema_state_dict.a": -VALUES})


class Module:
    """Pickled as PyTorch's modules are: an object with these three dicts."""

    def __init__(self, modules=None, **parameters):
        self._parameters, self._buffers, self._modules = parameters, {"steps": VALUES[:1]}, modules or {}
        self.training = True


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_module_saved_whole_is_read(tmp_path, protocol):
    network = Module({"0": Module(weight=VALUES), "1": Module()}, bias=-VALUES)
    expected = {"bias": -VALUES, "steps": VALUES[:1], "0.weight": VALUES, "0.steps": VALUES[:1], "1.steps": VALUES[:1]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(network, protocol))
    check(tmp_path / "a.pkl", expected)
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"epoch": 1, "model": network}, protocol))
    check(tmp_path / "b.pkl", {f"model.{name}": array for name, array in expected.items()})


def test_a_parameter_with_a_state_is_its_tensor(tmp_path):
    rebuild = Name("torch._utils", "_rebuild_parameter_with_state")
    tree = {"a": Call(rebuild, (contiguous("0", VALUES), True, None, {}))}
    write_zip(tmp_path / "a.pt", tree, {"0": VALUES})
    check(tmp_path / "a.pt", {"a": VALUES})


def test_a_dict_met_again_is_read_once(tmp_path):
    tree = {"a": VALUES}
    tree["again"] = {"loop": tree}
    for _ in range(60):
        tree = {"x": tree, "y": tree}  # 2**60 paths lead to the array
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(tree))
    assert [*foreign.read(tmp_path / "a.pkl")] == ["x." * 60 + "a"]


@pytest.mark.parametrize("tree", [[VALUES], VALUES, 5, {"a": 3}, {"a": [1.0]}, {}])
def test_what_holds_no_named_arrays_is_refused(tmp_path, tree):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(tree))
    assert "no named arrays" in refusal(tmp_path / "a.pkl")


def test_arrays_of_one_text_share_its_bytes(tmp_path):
    """Protocols up to 2 write bytes as texts, and one text may be called up any number of times."""
    content = Call(Name("_codecs", "encode"), (VALUES.tobytes().decode("latin-1"), "latin1"))
    array = (content, Call(Name("numpy", "dtype"), ("f4", False, True)), (24,), "C")
    numbers = Call(Name("numpy.core.numeric", "_frombuffer"), array)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + pickled({"a": numbers, "b": numbers}) + b".")
    check(tmp_path / "a.pkl", {"a": VALUES, "b": VALUES})
    assert np.shares_memory(*foreign.read(tmp_path / "a.pkl").values())


@pytest.mark.parametrize("array", [np.array(["text"]), np.zeros(2, "M8[s]"), np.zeros(2, "f4,i2"), np.zeros(2, "c8")])
def test_arrays_of_other_things_are_refused(tmp_path, array):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"a": array}))
    assert "only numbers" in refusal(tmp_path / "a.pkl")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_tensors_of_every_shape_and_kind_are_read(tmp_path, write):
    bfloat = np.array([0x3F80, 0xC000, 0x7F80], np.uint16)  # 1, -2, infinity
    storages = {"0": VALUES, "1": bfloat, "2": np.array([7, -8]), "3": VALUES[:6].astype(np.float16)}
    keyed = {key: storage(key, array, *([None] if write is write_legacy else [])) for key, array in storages.items()}
    parameter = Call(Name("torch._utils", "_rebuild_parameter"), (tensor(keyed["0"], (24,), (1,)), True, {}))
    tree = {
        "matrix": tensor(keyed["0"], (4, 6), (6, 1)),
        "transposed": tensor(keyed["0"], (6, 4), (1, 6)),
        "steps": tensor(keyed["0"], (2, 3), (12, 2), 5),
        "parameter": parameter,
        "scalar": tensor(keyed["0"], (), (), 23),
        "empty": tensor(keyed["0"], (0, 9), (9, 1)),
        "bfloat": tensor(keyed["1"], (3,), (1,)),
        "long": tensor(keyed["2"], (2,), (1,)),
        "half": tensor(keyed["3"], (2, 3), (3, 1)),
        "epoch": 4,
    }
    write(tmp_path / "a.pt", tree, storages)
    expected = {
        "matrix": VALUES.reshape(4, 6),
        "transposed": VALUES.reshape(4, 6).T,
        "steps": np.array([[5, 7, 9], [17, 19, 21]], np.float32),
        "parameter": VALUES,
        "scalar": np.array(23, np.float32),
        "empty": np.zeros((0, 9), np.float32),
        "bfloat": np.array([1, -2, np.inf], np.float32),
        "long": np.array([7, -8]),
        "half": VALUES[:6].reshape(2, 3).astype(np.float16),
    }
    check(tmp_path / "a.pt", expected)


def test_jittors_own_pth_numbers_its_storages(tmp_path):
    write_zip(tmp_path / "a.pth", {"a": contiguous(0, VALUES)}, {"0": VALUES}, byteorder=b"little", version=b"3")
    check(tmp_path / "a.pth", {"a": VALUES})


def test_only_the_state_dicts_storages_are_read(tmp_path):
    """Lightning keeps two moments of every weight beside it."""
    tree = {"state_dict": {"a": contiguous("0", VALUES)}, "optimizer": {"b": contiguous("1", VALUES)}}
    write_zip(tmp_path / "a.ckpt", tree, {"0": VALUES})
    check(tmp_path / "a.ckpt", {"a": VALUES})


@pytest.mark.parametrize(
    "size, stride, offset",
    [
        ((25,), (1,), 0),
        ((24,), (1,), 1),
        ((4, 6), (7, 1), 0),
        ((2,), (24,), 0),
        ((4,), (-1,), 3),
        ((-4,), (1,), 0),
        ((4,), (1,), -1),
        ((2**40, 2**40), (1, 1), 0),
        ((4, 6), (6,), 0),
        ((1,) * 40, (1,) * 40, 0),
        ((None,), (1,), 0),
        (("a",), (1,), 0),
        ([4], [1], 0),
    ],
)
def test_tensors_outside_their_storage_are_refused(tmp_path, size, stride, offset):
    write_zip(tmp_path / "a.pt", {"a": tensor(storage("0", VALUES), size, stride, offset)}, {"0": VALUES})
    assert "damaged" in refusal(tmp_path / "a.pt")


def test_expanded_tensors_are_refused(tmp_path):
    """A file of a kilobyte may claim a terabyte."""
    write_zip(tmp_path / "a.pt", {"a": tensor(storage("0", VALUES), (10**12,), (0,))}, {"0": VALUES})
    assert "expanded" in refusal(tmp_path / "a.pt")


def test_a_storage_of_another_length_is_refused(tmp_path):
    for write, view in ((write_zip, ()), (write_legacy, (None,))):
        write(tmp_path / "a.pt", {"a": contiguous("0", VALUES, *view)}, {"0": VALUES[:-1]})
        assert "storage 0" in refusal(tmp_path / "a.pt")
    write_zip(tmp_path / "a.pt", {"a": contiguous("7", VALUES)}, {"0": VALUES})
    assert "archive/data/7" in refusal(tmp_path / "a.pt")
    write_zip(tmp_path / "a.pt", {"a": contiguous("../../secret", VALUES)}, {"0": VALUES})
    assert "secret" in refusal(tmp_path / "a.pt")


def test_unsupported_storages_and_machines_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    write_zip(path, {"a": contiguous("0", VALUES)}, {"0": VALUES}, byteorder=b"big")
    assert "big-endian" in refusal(path)
    write_legacy(path, {"a": contiguous("0", VALUES, None)}, {"0": VALUES}, little_endian=False)
    assert "big-endian" in refusal(path)
    write_legacy(path, {"a": contiguous("0", VALUES, ("1", 0, 3))}, {"0": VALUES})
    assert "views" in refusal(path)
    reference = storage("0", VALUES)
    for changed, told in (
        (("module", *reference.value[1:]), "whole module"),
        (("storage", Name("torch", "QInt8Storage"), "0", "cpu", 24), "QInt8Storage"),
    ):
        write_zip(path, {"a": tensor(reference._replace(value=changed), (24,), (1,))}, {"0": VALUES})
        assert told in refusal(path)


def test_zip_files_that_are_no_checkpoint_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "text")
    assert "data.pkl" in refusal(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    assert path.stat().st_size < 5000 and "compressed" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/padding", bytes(100))
        archive.writestr("archive/data.pkl", b"}.", zipfile.ZIP_LZMA)
    assert "compressed" in refusal(path)


def test_hostile_pickles_inside_every_format_are_refused(tmp_path):
    hostile = Call(Name("os", "system"), (f"touch {tmp_path}/ran",))
    for write in WRITERS.values():
        write(tmp_path / "a.pt", {"a": hostile}, {})
        assert "os.system" in refusal(tmp_path / "a.pt")
    save(tmp_path / "a.ckpt", {"a": VALUES}, callbacks=hostile)
    assert "os.system" in refusal(tmp_path / "a.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "a.pt"]


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("kind", ["jittor", "zip", "legacy"])
def test_files_cut_short_or_changed_are_refused(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "jittor":
        jt.save({"a": VALUES, "b": VALUES}, str(path))
    else:
        WRITERS[kind](path, {"a": contiguous("0", VALUES, *([None] if kind == "legacy" else []))}, {"0": VALUES})
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        if kind != "jittor" or length < len(content) - 28:
            assert refusal(path)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            foreign.read(path)
        except UnpicklingError as error:
            assert str(error).isprintable()
