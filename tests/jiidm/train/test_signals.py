from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jiidm.errors import Stopped
from jiidm.train.signals import DeferredSignals

PROJECT = Path(__file__).resolve().parents[3]
FORKED = """
import os, signal, time
from jiidm.train.signals import DeferredSignals
with DeferredSignals() as signals:
    child = os.fork()
    if child == 0:
        time.sleep(20)
        os._exit(0)
    time.sleep(0.2)
    os.kill(child, signal.SIGUSR1)  # as mpirun does, which means its parent
    os.kill(child, signal.SIGHUP)
    time.sleep(0.2)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    print(os.WTERMSIG(status), signals.asked_of_any())
    os.kill(os.getpid(), signal.SIGTERM)
    print(signals.asked_of_any())
"""


def test_a_forked_worker_ends_by_sigterm_at_once_while_its_parent_defers_it():
    done = subprocess.run(
        [sys.executable, "-c", FORKED],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [f"{int(signal.SIGTERM)} False", "True"], done.stderr


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Stopped), (None, RuntimeError)])
def test_a_compiler_that_the_signal_ended_too_is_no_error(number, error):
    with pytest.raises(error), DeferredSignals():
        if number:
            os.kill(os.getpid(), number)
        raise RuntimeError("Run cmd failed: g++")


def test_a_lock_that_is_waited_for_is_not_given_up_for_a_signal():
    with DeferredSignals() as signals:
        reader, writer = os.pipe()
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
        later = threading.Timer(0.5, os.write, (writer, b"x"))
        timer.start(), later.start()
        read = ctypes.CDLL(None, use_errno=True).read
        assert read(reader, ctypes.create_string_buffer(1), 1) == 1  # -1 where a signal interrupts it
    assert signals.asked_of_any()
