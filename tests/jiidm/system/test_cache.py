"""Jittor's folders in a HOME made up for each test; Jittor itself is a stand-in in a process of its own."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jiidm.errors import InputError
from jiidm.system import cache

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "JITTOR_HOME"}
    # the whole of it, because what `check_home` sets has to end with the test: Jittor would remember it for ever
    monkeypatch.setattr(os, "environ", {**environment, "HOME": str(folder)})
    return folder


def remember(home, text):
    (home / ".cache" / "jittor").mkdir(parents=True)
    (home / ".cache" / "jittor" / "config.json").write_text(text)


def test_a_home_that_can_be_written_is_used(home):
    cache.check_home()
    assert cache.jittor_cache() == home / ".cache" / "jittor" and cache.jittor_cache().is_dir()
    assert "JITTOR_HOME" not in os.environ


def test_an_empty_jittor_home_is_none(home):
    os.environ["JITTOR_HOME"] = ""
    cache.check_home()
    assert "JITTOR_HOME" not in os.environ


def test_a_remembered_home_that_is_gone_is_forgotten(home, caplog):
    remember(home, json.dumps({"JITTOR_HOME": str(home.parent / "gone")}))
    cache.check_home()
    (message,) = caplog.messages
    assert str(home.parent / "gone") in message and "\n" not in message
    assert os.environ["JITTOR_HOME"] == str(home)
    assert cache.jittor_cache() == home / ".cache" / "jittor"
    assert not (home.parent / "gone").exists()


def test_a_remembered_home_that_is_there_is_kept(home, caplog):
    (home.parent / "other").mkdir()
    remember(home, json.dumps({"JITTOR_HOME": str(home.parent / "other")}))
    cache.check_home()
    assert cache.jittor_cache() == home.parent / "other" / ".cache" / "jittor" and not caplog.messages


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_a_memory_that_jittor_could_not_read_is_told(home, text):
    remember(home, text)
    with pytest.raises(InputError, match=r"config\.json: not as Jittor wrote it"):
        cache.check_home()


def test_an_empty_home_is_refused(home):
    os.environ["HOME"] = ""
    with pytest.raises(InputError, match="HOME is empty"):
        cache.check_home()


@pytest.mark.parametrize(("variable", "folder"), [("HOME", "file"), ("JITTOR_HOME", "file"), ("HOME", "/proc")])
def test_a_folder_that_cannot_be_made_is_told(home, variable, folder):
    (home / "file").touch()
    place = home / folder
    os.environ[variable] = str(place)
    with pytest.raises(InputError) as caught:
        cache.check_home()
    assert str(place) in str(caught.value) and f"set {variable} to" in str(caught.value)


@pytest.mark.parametrize("variable", ["HOME", "JITTOR_HOME"])
def test_a_space_in_the_name_is_told(home, variable):
    os.environ[variable] = str(home / "my files")
    with pytest.raises(InputError, match=f"space in its name; set {variable}"):
        cache.check_home()


JITTOR_UTILS = """
import contextlib, types
cache_path = {folder!r}
lock = types.SimpleNamespace(lock_scope=contextlib.nullcontext)
"""
RERUN = "import sys; sys.exit(0)  # as Jittor's compiler.py does where its tools are compiled anew\n"


@pytest.fixture
def jittor(tmp_path):
    """Stand-ins for Jittor and jittor_utils; gives the folder of the JIT cache and a function that runs code."""
    folder = tmp_path / "jit cache"
    for path in (folder, tmp_path / "path" / "jittor"):
        path.mkdir(parents=True)
    (tmp_path / "path" / "jittor_utils.py").write_text(JITTOR_UTILS.format(folder=str(folder)))
    (tmp_path / "path" / "jittor" / "__init__.py").write_text(RERUN)

    def run(code):
        path = os.pathsep.join(map(str, (tmp_path / "path", PROJECT)))
        env = {**os.environ, "PYTHONPATH": path}
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)

    return folder, run


def write_tools(folder, compiled_for):
    """The tools and their key, as Jittor writes them."""
    (folder / "jit_utils_core.cpython-311.so").write_text("tools")
    command = f'"/usr/bin/g++" "x.cc" -shared -o "{compiled_for}/jit_utils_core.cpython-311.so"\n# x.cc: 123'
    (folder / "jit_utils_core.cpython-311.so.key").write_text(command)


@pytest.mark.parametrize("same", [True, False])
def test_tools_of_another_folder_are_compiled_again(jittor, same):
    folder, run = jittor
    write_tools(folder, folder if same else folder.parent / "elsewhere")
    done = run("from jiidm.system import cache; cache.forget_moved_tools()")
    assert done.returncode == 0, done.stderr
    assert len(list(folder.iterdir())) == (2 if same else 0)
    assert ("moved or copied" in done.stderr) == (not same)


@pytest.mark.parametrize("somebody_compiles", [False, True])
def test_compilers_of_a_killed_process_are_waited_for(jittor, somebody_compiles):
    """A compiler that somebody alive waits for goes on. The stand-in for one sleeps until its stdin ends."""
    folder, run = jittor
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "-o", f"{folder}/jit/op.so"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as compiler,
        open(folder.parent / "jittor.lock", "w") as lock,
    ):
        if somebody_compiles:
            fcntl.lockf(lock, fcntl.LOCK_EX)
        else:
            threading.Timer(1, compiler.stdin.close).start()
        wait = "from jiidm.system import cache; cache.wait_for_abandoned_compilers()"
        done = run(f"{wait}; print(cache._compilers({str(folder)!r}))")
    assert done.returncode == 0, done.stderr
    assert (done.stdout == "[]\n") == (not somebody_compiles)


def test_jittors_wish_for_another_start_is_no_success(jittor):
    _, run = jittor
    code = "from jiidm.system import runtime; runtime.use_device('cpu')"
    done = run(code)
    assert done.returncode == 1 and "give the same command once more" in done.stderr.splitlines()[-1]
