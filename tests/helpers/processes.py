"""Python in a process of its own, where nothing has been imported yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def run_python(
    code: str, *arguments: object, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `code` with this project importable; `environment` adds to the variables of this process."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def die_while_writing(path: Path) -> None:
    """Begin to write a file of the kit's, and end as a killed process does."""
    run_python(
        "import os, sys; from ldm_jittor import files; a = files.atomic_path(sys.argv[1]); a.__enter__(); os._exit(1)",
        path,
    )


def program(folder: Path, name: str, body: str) -> None:
    """A shell script as an executable, in place of a real program."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)
