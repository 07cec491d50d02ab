from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from processes import PROJECT, run_python

from jiidm.system.compiling import Filter

JITTORS = [
    b"\n",
    b"Compiling Operators(1/9) used: 2.41s eta: 19.3s \r",
    b"Compiling Operators(4/9) used:    6s eta:  7.5s \r",
    b"Compiling Operators(9/9) used: 12.2s eta:    0s \r",
    b"\n",
]
"""As src/parallel_compiler.cc of Jittor 1.3.11 writes it."""
ONE_LINE = b"compiled 9 of Jittor's operators in 12 s, which happens once\n"


def filtered(pieces, terminal=False):
    written = []
    passed = Filter(written.append, terminal)
    for piece in pieces:
        passed.feed(piece)
    passed.feed(b"", final=True)
    return b"".join(written)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_jittors_progress_becomes_one_line_however_it_is_cut(size):
    whole = b"before: Correct\n" + b"".join(JITTORS) + b"".join(JITTORS) + b"after\n\nCompiling is done"
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert filtered(pieces) == b"before: Correct\n" + 2 * ONE_LINE + b"after\n\nCompiling is done"


def test_a_terminal_sees_the_progress_in_place():
    shown = filtered(JITTORS, terminal=True)
    assert b"\r\x1b[Kcompiling Jittor's operators: 4 of 9, 6 s, 8 s left" in shown
    assert shown.endswith(b"\r\x1b[K" + ONE_LINE) and shown.count(b"\n") == 1


@pytest.mark.parametrize(
    "text", [b"", b"\n\n\n", b"C", b"\nCompiling Operators(1/2) failed\n", b"Compiling Operators(\n"]
)
def test_other_text_is_passed_on_as_it_is(text):
    assert filtered([text]) == text


def environment():
    return {**os.environ, "PYTHONPATH": str(PROJECT)}


CODE = """
import os, sys
from jiidm.system.compiling import tell_in_one_line
tell_in_one_line()
tell_in_one_line()
print("ours", file=sys.stderr)
for piece in {pieces!r}:
    os.write(2, piece)
os.write(2, b"a library's")
sys.exit(3)
"""


def test_python_and_libraries_are_both_heard_to_the_end():
    done = run_python(CODE.format(pieces=JITTORS))
    assert done.returncode == 3
    assert sorted(done.stderr.splitlines()) == ["a library's", ONE_LINE.decode().strip(), "ours"]


def test_a_killed_command_does_not_keep_its_readers_waiting():
    code = CODE.format(pieces=JITTORS).replace("sys.exit(3)", "os.kill(os.getpid(), 9)")
    command = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, code]  # Jittor would end the tests with its child
    assert subprocess.run(command, env=environment(), capture_output=True).returncode == 128 + 9


def test_a_terminal_stays_one_for_python():
    leader, follower = pty.openpty()
    code = CODE.format(pieces=[]).replace("sys.exit(3)", "sys.exit(not sys.stderr.isatty())")
    assert subprocess.run([sys.executable, "-c", code], stderr=follower, env=environment()).returncode == 0
    os.close(leader)
    os.close(follower)


def test_other_streams_are_left_alone(capsys):
    from jiidm.system.compiling import tell_in_one_line

    tell_in_one_line()
    print("ours", file=sys.stderr)
    assert capsys.readouterr().err == "ours\n"
