from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from jiidm.system import watchdog

RANK = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-IS", sys.argv[1], str(os.getpid()), "3", sys.argv[2]])
print("started", flush=True)
exec(sys.argv[3])
"""


def rank(does, limit=1.0):
    command = [sys.executable, "-c", RANK, watchdog.__file__, str(limit), does]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "started\n"
    return process


def test_a_rank_that_hangs_is_ended():
    process = rank("time.sleep(60)")
    assert process.wait(timeout=20) == -signal.SIGKILL
    assert f"rank 3, process {process.pid} on " in process.stderr.read()


def test_a_stopped_rank_is_ended():
    process = rank("while True: pass")
    process.send_signal(signal.SIGSTOP)
    assert process.wait(timeout=20) == -signal.SIGKILL


@pytest.mark.parametrize(
    "does",
    [
        "end = time.monotonic() + 3\nwhile time.monotonic() < end: time.sleep(0)",  # waits as Open MPI does
        "subprocess.run([sys.executable, '-c', 'import time; t = time.time() + 3\\nwhile time.time() < t: pass'])",
    ],
    ids=["waits for others", "compiles"],
)
def test_a_rank_at_work_goes_on(does):
    assert rank(does).wait(timeout=20) == 0


def test_waiting_for_a_files_lock_is_no_hang(tmp_path):
    import fcntl

    with open(tmp_path / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        process = rank(f"import fcntl; fcntl.flock(open({str(tmp_path / 'lock')!r}), fcntl.LOCK_EX)")
        time.sleep(3)
        assert process.poll() is None
    assert process.wait(timeout=20) == 0


def test_the_watchdog_ends_with_its_rank():
    process = rank("sys.exit()", limit=0.5)
    process.wait(timeout=20)
    process.stderr.read()  # ends when the watchdog has closed it
