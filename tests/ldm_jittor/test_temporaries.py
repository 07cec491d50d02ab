from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
from processes import die_while_writing

from ldm_jittor.files import atomic_path
from ldm_jittor.temporaries import leftovers, temporary_path


def of_process(folder: Path, number: int, started: str) -> Path:
    """A temporary file as a process of this system would have named it."""
    own = temporary_path(folder / "a.jpg").name
    path = folder / re.sub(r"-\d+-\d+-(\d+\.tmp)", rf"-{number}-{started}-\1", own)
    path.touch()
    return path


def start_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]


def test_they_are_those_of_processes_that_have_ended(tmp_path):
    (tmp_path / ".keep.jpg").touch()
    (tmp_path / "a-1-1.tmp.jpg").touch()
    with atomic_path(tmp_path / "b.jpg"):
        die_while_writing(tmp_path / "a.jpg")
        (leftover,) = leftovers(tmp_path)
    assert leftover.name.startswith(f".{socket.gethostname()}-") and leftover.suffix == ".jpg"


def test_a_number_that_another_process_has_now_does_not_keep_them(tmp_path):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        living = of_process(tmp_path, other.pid, start_of(other.pid))
        ended = of_process(tmp_path, other.pid, str(int(start_of(other.pid)) - 1))
        assert leftovers(tmp_path) == [ended]
        other.stdin.close()  # which ends it
        while Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.01)
        assert sorted(leftovers(tmp_path)) == sorted([living, ended])  # though nobody has asked how it ended


@pytest.mark.parametrize("writer", ["elsewhere-7", f"{socket.gethostname()}-0123abcd-{os.getpid()}-1"])
def test_those_of_another_system_are_old(tmp_path, writer):
    fresh, old = tmp_path / f".{writer}-0.tmp.jpg", tmp_path / f".{writer}-1.tmp.jpg"
    fresh.touch()
    old.touch()
    os.utime(old, (0, 0))
    assert leftovers(tmp_path) == [old]


def test_a_wrong_clock_here_does_not_make_them_old(tmp_path, monkeypatch):
    (tmp_path / ".elsewhere-7-0.tmp.jpg").touch()
    monkeypatch.setattr(time, "time", lambda: time.monotonic() + 1e12)
    assert leftovers(tmp_path) == []
