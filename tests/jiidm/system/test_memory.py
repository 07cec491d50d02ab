"""What is said, and with which status a process ends, when there is no memory left."""

from __future__ import annotations

import errno
import resource

import pytest
from processes import run_python

from jiidm.cli import main as cli
from jiidm.errors import InputError
from jiidm.system import doctor, memory

PREPARED = """
from jiidm.system import memory, runtime
runtime.use_device(runtime.prepare("cpu").device)
memory.end_in_one_line()
"""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "MemoryError"),
        (MemoryError("Unable to allocate 8.00 EiB"), "Unable to allocate 8.00 EiB"),
        (RuntimeError("[f 1127 executor.cc:686]\n\nReason: std::bad_alloc\n"), "Reason: std::bad_alloc"),
        (RuntimeError("could not create a memory object"), "could not create a memory object"),
        (RuntimeError("can't start new thread"), "can't start new thread; or ulimit -u is reached"),
        (RuntimeError("python3.11-config: 36: Cannot fork\n-O2"), "python3.11-config: 36: Cannot fork; or ulimit -u"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "[Errno 12] Cannot allocate memory"),
        (ImportError("libdnnl.so.2: failed to map segment from shared object"), "libdnnl.so.2: failed to map segment"),
        (caused(ImportError("Error importing numpy"), MemoryError("none left")), "none left"),
    ],
)
def test_a_shortage_is_known_by_whoever_tells_of_it(error, told):
    assert memory.shortage(error).startswith(told)


@pytest.mark.parametrize("error", [ValueError("bad value"), OSError(errno.ENOSPC, "No space left on device")])
def test_other_errors_are_none(error):
    assert memory.shortage(error) == ""


def test_the_command_line_tells_it_in_one_line(monkeypatch, capsys):
    def fail(arguments):
        raise RuntimeError("Jittor's\nReason: std::bad_alloc")

    monkeypatch.setattr(doctor, "run", fail)
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err.startswith("error: no memory is left (Reason: std::bad_alloc); what was finished")


@pytest.mark.parametrize(
    ("limit", "value", "told"),
    [
        (resource.RLIMIT_AS, 300 << 20, r"memory is limited to 300 MiB \(ulimit -v\)"),
        (resource.RLIMIT_NOFILE, 16, r"open files are limited to 16 \(ulimit -n\)"),
    ],
)
def test_a_limit_below_what_jittor_needs_is_refused_before_it_starts(monkeypatch, limit, value, told):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (value if which == limit else resource.RLIM_INFINITY,) * 2)
    with pytest.raises(InputError, match=told):
        memory.require_limits()


@pytest.mark.parametrize(("threads", "least"), [("1", 1514), ("8", 1962)])
def test_training_is_refused_below_what_it_takes_with_so_many_threads(monkeypatch, threads, least):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    for limit in (resource.RLIM_INFINITY, least << 20):
        monkeypatch.setattr(resource, "getrlimit", lambda which, limit=limit: (limit, limit))
        memory.require_room_to_train()
    monkeypatch.setattr(resource, "getrlimit", lambda which: ((least << 20) - 1,) * 2)
    with pytest.raises(InputError, match=rf"{least - 1} MiB \(ulimit -v\), and training takes {least} at least"):
        memory.require_room_to_train()


def test_jittors_own_allocation_raises_what_the_command_line_knows():
    code = f"""{PREPARED}
import jittor as jt
try:
    jt.zeros((1 << 42,)).numpy()
except Exception as error:
    print(memory.shortage(error))
"""
    done = run_python(code)
    assert "bad_alloc" in done.stdout, done.stderr[-500:]


def test_an_allocation_that_nobody_catches_ends_the_process_in_one_line():
    code = f"{PREPARED}\nimport ctypes\nctypes.CDLL('libstdc++.so.6')._Znwm(ctypes.c_size_t(1 << 60))"
    done = run_python(code)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: no memory is left; what was")


def test_a_crash_where_hardly_any_memory_is_left_is_told_as_that():
    code = f"""{PREPARED}
import ctypes, resource
from pathlib import Path
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (100 << 20),) * 2)
ctypes.string_at(0)
"""
    done = run_python(code)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("error: no memory is left; what was")
