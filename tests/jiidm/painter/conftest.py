"""A painter in a process of its own, as `jiidm paint` starts it, with the smoke model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from processes import PROJECT


@pytest.fixture(scope="module")
def painter_process(smoke_model, landscapes, tmp_path_factory) -> Iterator[subprocess.Popen]:
    """`jiidm paint`, with masks and photos of one's own. Ctrl-C ends it with status 0."""
    command = [sys.executable, "-m", "jiidm", "paint", "--checkpoint", smoke_model, "--no-browser", "--device", "cpu"]
    command += ["--masks", landscapes / "labels", "--data", landscapes]
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it would be ignored
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=tmp_path_factory.mktemp("painter"),
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, former)
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


@pytest.fixture(scope="module")
def painter_url(painter_process) -> str:
    """Its address."""
    printed = []
    for line in painter_process.stdout:
        printed.append(line)
        if line.startswith("painter: "):
            return line.split()[1]
    raise AssertionError(f"no painter: {printed}")
