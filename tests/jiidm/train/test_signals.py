from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

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
