"""Precompiled headers, as g++ itself says that it reads them."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

from jiidm.system import precompiled, runtime

JITTOR = Path(find_spec("jittor").origin).parent
# as the commands in Jittor's cache have them
ITS_OWN = ["-Wall", "-Wno-unknown-pragmas", "-std=c++14", "-fPIC", "-march=native", "-fdiagnostics-color=always"]


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path))
    monkeypatch.delenv("cc_flags", raising=False)
    monkeypatch.setenv("cc_flags", precompiled.flags())
    return tmp_path


def headers_read(source: str, folder: Path, *own: str) -> list[str]:
    """The lines of g++ -H: "! " stands before a precompiled header that it uses, "x " before one that it does not."""
    file = folder / "file.cc"
    file.write_text(source)
    flags = os.environ[precompiled.CC_FLAGS].split()
    folders = [f"-I{JITTOR / 'src'}", f"-I{JITTOR / 'extern'}", f"-I{sysconfig.get_path('include')}"]
    command = ["g++", file, *ITS_OWN, *flags, *folders, *own, "-H", "-S", "-o", folder / "file.s"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


@pytest.mark.slow
def test_gcc_takes_them_for_jittor_and_for_its_operators(cache):
    precompiled.write()
    core = headers_read('#include "var.h"\n', cache, "-O2")
    assert any(line.startswith("! ") and line.endswith("/jittor.h.gch/jittor") for line in core)
    operator = '#define JIT 1\n#define JIT_cpu 1\n#include "var.h"\n#include "ops/op_register.h"\n'
    lines = headers_read(operator, cache, "-fopenmp", "-Ofast", "-g")
    assert any(line.startswith("! ") and line.endswith("/jittor.h.gch/operators") for line in lines)
    assert len(core) < 10 and len(lines) < 10, "the rest is read from it"


def test_the_header_is_there_where_it_cannot_be_precompiled(cache, monkeypatch):
    monkeypatch.setattr(precompiled, "_command", lambda *arguments: ["false"])
    precompiled.write()
    (header,) = cache.glob(".cache/jittor/headers/*/jittor.h")
    assert header.read_text() == precompiled.HEADER and not list(header.with_suffix(".h.gch").iterdir())


def test_the_second_of_two_processes_keeps_what_the_first_has_made(cache, monkeypatch):
    monkeypatch.setattr(precompiled, "_command", lambda header, compiled, own: ["touch", str(compiled)])
    precompiled.write()
    (header,) = cache.glob(".cache/jittor/headers/*/jittor.h")
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    precompiled.write()
    assert [path.name for path in header.parent.parent.iterdir()] == [header.parent.name]


def test_the_users_own_flags_and_another_compiler_are_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path))
    monkeypatch.setenv("cc_flags", "-O3")
    assert precompiled.flags() == "" and runtime.environment(runtime.Cuda("", ""))["cc_flags"] == "-O3"
    precompiled.write()
    assert not list(tmp_path.rglob("jittor.h"))
    monkeypatch.delenv("cc_flags")
    clang = tmp_path / "clang++"
    clang.write_text("#!/bin/sh\n")
    clang.chmod(0o755)
    monkeypatch.setenv("cc_path", str(clang))
    assert precompiled.flags() == ""


def test_another_compiler_or_python_has_another_header(cache, monkeypatch):
    monkeypatch.delenv("cc_flags")
    before = precompiled.flags()
    monkeypatch.setattr(precompiled, "_python_headers", lambda: "/usr/include/python3.99")
    assert before.startswith(" -include /") and precompiled.flags() != before


def test_a_child_process_compiles_as_its_parent_does(cache):
    inherited = runtime.environment(runtime.Cuda("", ""))
    assert inherited["cc_flags"] == precompiled.flags() != "" and inherited["cache_name"] == "cpu"


def test_cuda_is_compiled_without(cache, monkeypatch):
    monkeypatch.delenv("cc_flags")
    assert runtime.environment(runtime.Cuda("/cuda/bin/nvcc", ""))["cc_flags"] == ""
