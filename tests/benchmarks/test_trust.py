"""The checks of docs/reliability.md in their short form, and that each of them can fail."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PROJECT

from benchmarks.trust import common, faults
from benchmarks.trust.common import Broken, Record

CHECKS = ("kills", "writes", "flips", "hostile", "shared", "disk", "memory")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("trust")


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_the_short_form_finds_every_promise_kept(name, folder, tmp_path):
    command = [sys.executable, "-m", f"benchmarks.trust.{name}", "--short", "--folder", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "cases kept their promise" in result.stdout


def test_make_trust_runs_every_check():
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert all(f"-m benchmarks.trust.{name}\n" in text for name in CHECKS)
    assert all(importlib.util.find_spec(f"benchmarks.trust.{name}") for name in CHECKS)


def test_a_broken_promise_is_told_and_tried_again(tmp_path, capsys):
    def broken():
        raise Broken("two files differ")

    assert Record(tmp_path, "check").go_through({"good": lambda: {"kills": 1}, "bad": broken}) == 1
    shown = capsys.readouterr()
    assert "BROKEN bad: two files differ" in shown.err and "1 of 2 cases" in shown.out
    again = Record(tmp_path, "check")
    assert again.go_through({"good": broken, "bad": lambda: {}}) == 0  # the good one is done


def test_what_other_code_has_done_is_done_again(tmp_path, monkeypatch):
    Record(tmp_path, "check").go_through({"a": lambda: {}})
    monkeypatch.setattr(common, "code", lambda: "other")
    assert Record(tmp_path, "check").figures == {}


WRITER = """
import os, sys
folder = sys.argv[1]
os.mkdir(f"{folder}/new")
with open(f"{folder}/new/a", "w") as file:
    file.write("0123456789")
    file.flush()
    file.write("ab")
os.replace(f"{folder}/new/a", f"{folder}/new/b")
"""


@pytest.fixture
def writer(tmp_path):
    return [sys.executable, "-c", WRITER, str(tmp_path)]


def test_changes_are_seen_whatever_makes_them(writer, tmp_path):
    made = [line.split("\t") for line in faults.changes(writer, tmp_path)]
    places = [("mkdir", "new"), ("open", "new/a"), ("write", "new/a"), ("rename", "new/b")]
    assert made == [[kind, str(tmp_path / name)] for kind, name in places]


@pytest.mark.parametrize(("at", "left"), [(2, {}), (3, {"new/a": "01234"}), (4, {"new/a": "0123456789ab"})])
def test_a_process_dies_at_the_change_that_was_chosen(writer, tmp_path, at, left):
    assert faults.run_with_fault(writer, tmp_path, "kill", at).returncode == -9
    found = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == left


def test_a_full_disk_refuses_what_needs_room(writer, tmp_path):
    result = faults.run_with_fault(writer, tmp_path, "full", 3)
    assert result.returncode == 1 and "No space left on device" in result.stderr
    assert (tmp_path / "new" / "a").read_text() == "01234"  # half of a write fits
