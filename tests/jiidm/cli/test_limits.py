"""What `ulimit` and the system refuse: one line that names it, status 2, nothing half-written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PROJECT


def limited(limit: int, value: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command with one of its process's limits lowered."""
    return subprocess.run(
        [sys.executable, "-m", "jiidm", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
        capture_output=True,
        text=True,
    )


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_file_beyond_the_limit_is_named(tmp_path):
    data = tmp_path / "data"
    done = limited(resource.RLIMIT_FSIZE, 1024, "data", "synth", data, "--count", 2, "--size", "128x96")
    photo = data / "imgs" / "synth_000000.jpg"
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: {photo}: cannot be written (the limit on a file's size, ulimit -f, is reached)"
    )
    assert files_of(data) == {"dataset.json"}


def test_a_list_beyond_the_limit_is_named(tmp_path):
    """checksums.txt grows line by line, and is no temporary file."""
    words = ("data", "synth", tmp_path / "data", "--count", 40, "--size", "64x48")
    done = limited(resource.RLIMIT_FSIZE, 4096, *words)
    assert done.returncode == 2 and "checksums.txt: cannot be written (the limit on" in done.stderr
    again = limited(resource.RLIMIT_FSIZE, 1 << 20, *words)
    assert again.returncode == 0 and len(files_of(tmp_path / "data")) == 82


@pytest.mark.parametrize("words", [["schedule"], ["infer"], ["data", "synth", "out"], ["doctor"]])
def test_a_working_folder_that_is_gone_is_told(tmp_path, words):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        f"import os, sys; os.rmdir(os.getcwd()); os.execv(sys.executable, {[sys.executable, '-m', 'jiidm', *words]!r})"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=gone, env=environment, capture_output=True, text=True)
    told = "error: the working folder cannot be used (No such file or directory); go to one that is there\n"
    assert (done.returncode, done.stderr) == (2, told)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words, streams", [(["--help"], "1"), (["--version"], "1"), (["infer", "x", "y", "z"], "2")])
def test_a_full_disk_behind_a_stream_is_no_success(words, streams, unbuffered):
    command = f"exec {sys.executable} -m jiidm {' '.join(words)} {streams}>/dev/full"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True)
    told = "error: the output: cannot be written (No space left on device)\n"
    assert (done.returncode, done.stderr) == (2, told if streams == "1" else "")
