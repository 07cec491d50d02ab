"""The pickle reader: plain data come back as pickle itself gives them, and nothing a pickle asks for is ever run."""

from __future__ import annotations

import argparse
import collections
import copyreg
import datetime
import decimal
import enum
import functools
import importlib
import io
import os
import pickle
import random
import subprocess
import sys
import time
import uuid
from pickle import UnpicklingError

import numpy as np
import pytest

from ldm_jittor.formats import pickles as unpickle
from ldm_jittor.formats.pickles import Record

PROTOCOLS = (0, 2, 3, pickle.HIGHEST_PROTOCOL)
PLAIN = {
    "none": None,
    "flags": [True, False],
    "integers": [0, -1, 255, 256, 65536, -(2**31), 2**31, 2**64, -(2**200), 2**3000],
    "floats": [0.1, -1e300, float("inf")],
    "texts": ["", "a", "ü\n", "x" * 300],
    "bytes": [b"\x00\xff", b"", b"y" * 300],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ([],)],
    "dicts": {"a": {}, "3": {"b": [{}]}},
}


def read(content: bytes):
    return unpickle.read(io.BytesIO(content))


class Call:
    """Pickled as a call of `function`; unpickled by Python, it would run."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.fixture(autouse=True)
def mark(tmp_path, monkeypatch):
    """A file that every hostile pickle here would create in the working folder."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == [], "a pickle ran"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_are_what_pickle_reads(protocol):
    shared = [1]
    content = pickle.dumps({**PLAIN, "twice": [shared, shared]}, protocol)
    found = read(content)
    if protocol < 3:  # bytes are written as a call, which stays a description
        described = found.pop("bytes")
        assert str(described[0].kind) == "_codecs.encode" and described[1] == b""
        assert found == {key: value for key, value in pickle.loads(content).items() if key != "bytes"}
    else:
        assert found == pickle.loads(content)
    assert found["twice"][0] is found["twice"][1]


def test_the_file_is_left_behind_the_pickle():
    file = io.BytesIO(pickle.dumps("first") + pickle.dumps("second") + b"rest")
    assert [unpickle.read(file), unpickle.read(file), file.read()] == ["first", "second", b"rest"]


def test_sets_become_lists_and_ordered_dicts_dicts():
    tree = [{1, 2}, frozenset([3]), collections.OrderedDict(a=1), collections.defaultdict(list, b=[2])]
    assert read(pickle.dumps(tree)) == [[1, 2], [3], {"a": 1}, {"b": [2]}]


def test_references_outside_the_pickle_are_asked_for():
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("place", 7) if isinstance(value, range) else None

    file = io.BytesIO()
    Pickler(file, 2).dump({"a": range(3)})
    assert unpickle.read(io.BytesIO(file.getvalue()), lambda place: [*place]) == {"a": ["place", 7]}
    with pytest.raises(UnpicklingError, match="BINPERSID"):
        read(file.getvalue())


HOSTILE = {
    "system": (Call(os.system, "touch ran"), r"(posix|nt)\.system"),
    "mkdir": (Call(os.mkdir, "ran"), r"(posix|nt)\.mkdir"),
    "eval": (Call(eval, "open('ran', 'w')"), r"builtins\.eval"),
    "exec": (Call(exec, "open('ran', 'w')"), r"builtins\.exec"),
    "open": (Call(open, "ran", "w"), r"(io|_io)\.open"),
    "getattr": (Call(getattr, "a", "upper"), r"builtins\.getattr"),
    "subprocess": (Call(subprocess.Popen, ["touch", "ran"]), r"subprocess\.Popen"),
    "import": (Call(importlib.import_module, "os"), r"importlib\.import_module"),
    "pickle": (Call(pickle.loads, pickle.dumps(Call(os.mkdir, "ran"))), r"pickle\.loads"),
    "copyreg": (Call(copyreg._reconstructor, object, object, None), r"copyreg\._reconstructor"),
    "numpy function": (Call(np.save, "ran", 0), r"numpy\.save"),
    "numpy loader": (Call(np.load, "ran.npy"), r"numpy\.load"),
    "numpy object array": (np.array([Call(os.mkdir, "ran"), None]), r"numpy array of Python objects|posix\.mkdir"),
    "numpy object type": (Call(np.dtype, object), "numpy array of Python objects"),
    "numpy object scalar": (
        Call(np.core.multiarray.scalar, np.dtype("O"), pickle.dumps(Call(os.mkdir, "ran"))),
        "numpy array of Python objects",
    ),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", ["alone", "value", "key", "state", "argument"])
def test_calls_are_refused_by_name(name, place, protocol):
    call, named = HOSTILE[name]
    tree = {
        "alone": call,
        "value": {"a": np.ones(2), "b": [call]},
        "key": {(1, call if name != "numpy object array" else 2): call},
        "state": argparse.Namespace(inner=call),
        "argument": Call(np.dtype, "f4", call),
    }[place]
    with pytest.raises(UnpicklingError, match=rf"{named}|copyreg\._reconstructor") as caught:
        read(pickle.dumps(tree, protocol))
    assert "refused" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, named",
    [
        (b"cos\nsystem\n(S'touch ran'\ntR.", r"os\.system"),
        (b"(S'touch ran'\nios\nsystem\n.", r"os\.system"),
        (b"(cos\nsystem\nS'touch ran'\no.", r"os\.system"),
        (b"\x80\x02cnumpy\ndtype\ncos\nsystem\n\x85R.", "Python objects"),
        (b"\x80\x04(\x8c\x02os\x8c\x06system\x93\x8c\x09touch ran\x85R.", r"os\.system"),
        (b"\x80\x02(cos\nsystem\nX\x09\x00\x00\x00touch ran\x85R0N.", r"os\.system"),  # result thrown away
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02S'os.system'\n)R.", "a str"),
        (b"cos\nsys\x1b[31mtem\n(tR.", r"x1b"),
    ],
)
def test_calls_by_rare_instructions_are_refused(content, named):
    with pytest.raises(UnpicklingError, match=named) as caught:
        read(content)
    assert str(caught.value).isprintable()


class Choice(enum.Enum):
    FIRST = 1


BYSTANDERS = {
    "partial": functools.partial(os.mkdir, "ran"),
    "lambda's kin": functools.partial(dict, a=functools.partial(print)),
    "time": datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    "span": datetime.timedelta(3),
    "decimal": decimal.Decimal("0.1"),
    "counter": collections.Counter("aab"),
    "deque": collections.deque([1, 2], 3),
    "complex": 1 + 2j,
    "slice": slice(1, 2),
    "uuid": uuid.UUID(int=3),
    "random": np.random.RandomState(0),
    "choice": Choice.FIRST,  # of a project of its own
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", BYSTANDERS)
def test_records_beside_the_weights_are_left_out(name, protocol):
    content = pickle.dumps({"state_dict": {"a": 1}, "beside": {"x": BYSTANDERS[name]}, "after": 2}, protocol)
    found = read(content)
    assert found["state_dict"] == {"a": 1} and found["after"] == 2
    assert found["beside"]["x"] is None or isinstance(found["beside"]["x"], (Record, dict))


def test_a_function_of_another_project_is_refused():
    content = b"\x80\x02cproject.tools\nrun\n)R."
    with pytest.raises(UnpicklingError, match=r"project\.tools\.run: refused"):
        read(content)


def test_named_modules_are_not_imported_and_classes_not_made(tmp_path, monkeypatch):
    """The objects that Lightning keeps beside the weights."""
    module = tmp_path / "elsewhere" / "acting_module.py"
    module.parent.mkdir()
    module.write_text(
        "import os\n"
        "class Thing:\n"
        "    def __new__(cls): os.mkdir('ran'); return object.__new__(cls)\n"
        "    def __setstate__(self, state): os.mkdir('ran')\n"
    )
    content = (
        b"\x80\x02}(X\x01\x00\x00\x00acacting_module\nThing\n)\x81}X\x01\x00\x00\x00xK\x01sbX\x01\x00\x00\x00bK\x05u."
    )
    monkeypatch.syspath_prepend(str(module.parent))
    found = read(content)
    assert isinstance(found["a"], Record) and found["a"].kind is None and found["b"] == 5
    assert "acting_module" not in sys.modules
    for path in (module, module.parent):
        path.unlink() if path.is_file() else path.rmdir()


def nested_twice(depth: int) -> bytes:
    """t = (t, t), `depth` times over: a hundred bytes whose hash, or text, would take 2**depth steps."""
    return b")" + b"2\x86" * depth


LONG_TEXT = b"\x80\x02X" + (10**6).to_bytes(4, "little") + b"a" * 10**6 + b"q\x000"
"""Kept in the memo's place 0."""


@pytest.mark.parametrize("arguments", [LONG_TEXT[2:] + b"h\x00", b"]", b"N"])
def test_arguments_are_tuples(arguments):
    with pytest.raises(UnpicklingError, match="no tuple"):
        read(b"\x80\x02ctorch\nSize\n" + arguments + b"R.")


def test_bombs_end_at_once():
    start = time.process_time()
    assert read(b"\x80\x02}" + nested_twice(100) + b"K\x01s.") == {}
    colliding = b"".join(pickle.dumps(i * (2**61 - 1), 2)[2:-1] + b"N" for i in range(1, 30_000))
    assert read(b"\x80\x02}(" + colliding + b"u.") == {}
    for content in (
        nested_twice(100) + b")R.",
        b"\x80\x02cnumpy\ndtype\n" + nested_twice(100) + b"\x85R.",
        b"\x80\x04" + nested_twice(100) + b"\x8c\x01a\x93.",
        b"\x80\x04N" + b"".join(b"p%d\n" % (i * (2**61 - 1)) for i in range(1, 30_000)) + b".",
        LONG_TEXT + b"(h\x00h\x00\x931" * 10**5 + b".",
        b"\x80\x02cnumpy\ndtype\nq\x010" + LONG_TEXT + b"(h\x01h\x00\x85R1" * 10**5 + b".",
    ):
        with pytest.raises(UnpicklingError):
            read(content)
    read(b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".")  # lists in lists
    read(b"\x80\x02Nr\xff\xff\xff\xff.")  # memo entry four billion
    for claim in (
        b"\x8e" + b"\xff" * 7 + b"\x7f",
        b"\x8e" + bytes(6) + b"\x01\x00",
        b"\x96" + bytes(5) + b"\x01\x00\x00",
    ):
        with pytest.raises(UnpicklingError, match="damaged"):
            read(b"\x80\x05" + claim + b"abc.")
    assert time.process_time() - start < 5


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_damage_raises_nothing_else(protocol):
    content = pickle.dumps({"a": np.arange(6.0).reshape(2, 3), "b": PLAIN, "c": argparse.Namespace(d=1)}, protocol)
    for length in range(len(content)):
        with pytest.raises(UnpicklingError):
            read(content[:length])
    draw = random.Random(protocol)
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 1, 2, 8])):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        try:
            read(bytes(damaged))
        except UnpicklingError as error:
            assert str(error).isprintable()


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", b".", b"\x80\x04.", b"\x80\x02K", b"h\x07.", b"(((", b"\x80\x02R."]
)
def test_what_is_no_pickle_is_refused(content):
    with pytest.raises(UnpicklingError, match="damaged or no pickle"):
        read(content)
