"""Training in Jittor beside the same training in PyTorch: same start weights, same data, same noise.

    .venv/bin/python -m benchmarks.alignment

Needs the parity environment (bash tests/parity/setup.sh). The parts are:

  unet         500 steps of a small U-Net, that of the demo, on latents of generated landscapes
  autoencoder  500 steps of the demo's autoencoder and of its discriminator, which takes part from step 51
  full         one step of the released model's U-Net, 501.5 M parameters, in two micro-batches, on smaller latents

Jittor's end is this kit's own training code. It trains the small networks twice, to see whether it repeats itself.
PyTorch runs with one thread. The yardstick is what it differs by with two and with three threads, and with its own
convolutions in place of oneDNN's, see benchmarks/alignment/verdict.py. Each end is a process of its own, one after the
other.

OUT/<part>.json holds every loss, <part>.jpg what both ends' weights make. results.md and losses.png show all records
that are in OUT, also those of earlier calls. A stopped call goes on where it stopped: FOLDER keeps what is done, until
the settings change. The exit status is 1 where Jittor is further from PyTorch than the yardstick allows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.alignment import page, parts, pictures, record
from benchmarks.common.duel import PROJECT, TORCH_PYTHON

MEMORY_NEEDED = {"full": 15}
"""GiB that have to be free before a part starts."""


class End(NamedTuple):
    name: str
    command: tuple[str, ...]
    threads: int = 1


_JITTOR = (sys.executable, "-m", "benchmarks.alignment.jittor_end")
_TORCH = (str(TORCH_PYTHON), "-m", "benchmarks.alignment.torch_end")
ENDS = (
    End(record.JITTOR, _JITTOR),
    End(record.TORCH, _TORCH),
    *(End(name, _TORCH, threads) for name, threads in zip(record.THREADS, (2, 3))),
    *(End(name, (*_TORCH, "--without-onednn"), threads) for name, threads in zip(record.KERNELS, (1, 2))),
    End(record.AGAIN, _JITTOR),
)


def run(end: End, name: str, short: bool, folder: Path) -> None:
    """Let an end train a part in `folder`/<end>, if it has not done so at these settings."""
    own, settings = folder / end.name, [parts.part_named(name, short), end.threads]
    made_by = own / "made_by.json"
    if made_by.exists() and made_by.read_text() == json.dumps(settings):
        return
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    print(f"{name}: {end.name}", file=sys.stderr)
    command = [*end.command, name, str(own), *["--short"] * short]
    if end.command[0] == str(TORCH_PYTHON):
        command += ["--given", str(folder / record.JITTOR / parts.GIVEN)]
    # passive: two threads that wait busily for each other take fifty times as long on a busy machine
    environment = {**os.environ, "OMP_NUM_THREADS": str(end.threads), "OMP_WAIT_POLICY": "passive"}
    if status := subprocess.run(command, env=environment, cwd=PROJECT, stdout=sys.stderr).returncode:
        sys.exit(f"error: {name}: {end.name} ended with status {status}")
    made_by.write_text(json.dumps(settings))


def require_memory(name: str) -> None:
    """Exits where a part would not fit."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) / 2**20 for line in lines if line.startswith("MemAvailable"))
    if available < MEMORY_NEEDED.get(name, 0):
        sys.exit(f"error: {name}: {available:.1f} GiB of memory are free, and {MEMORY_NEEDED[name]} are needed")


def align(name: str, short: bool, folder: Path) -> dict:
    """The record of a part, from whatever of its ends still has to run."""
    require_memory(name)
    for end in ENDS:
        if end.name != record.AGAIN or parts.repeated(name, short):
            run(end, name, short, folder)
    return record.make(name, short, folder)


def recorded(out: Path, short: bool) -> list[dict]:
    """The records in a folder, in the order of the parts. One that other settings made stays off the page."""
    found = []
    for name, part in (parts.SHORT if short else parts.PARTS).items():
        path = out / f"{name}.json"
        if path.exists():
            made = json.loads(path.read_text())
            settings = made["config"], made["changes"], list(made["ends"])
            if settings == (part.config, list(part.changes), list(record.ENDS)):
                found.append(made)
            else:
                print(f"warning: {path} was made at other settings; it is left out", file=sys.stderr)
    return found


def show(records: list[dict], out: Path) -> None:
    """Write results.md and losses.png."""
    if trained := [made for made in records if made["part"] != "full"]:
        pictures.losses(trained, out / "losses.png")
    figures = page.figures(records)
    (out / "results.md").write_text(figures, encoding="utf-8")
    print(figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=parts.PARTS, help="default: all")
    parser.add_argument("--out", type=Path, help="default: docs/alignment; with --short, FOLDER")
    parser.add_argument("--folder", type=Path, help="default: runs/alignment; with --short, runs/alignment-short")
    parser.add_argument("--short", action="store_true", help="10 steps of tiny networks, and no full one")
    arguments = parser.parse_args()
    short = arguments.short
    if not TORCH_PYTHON.exists():
        sys.exit("error: PyTorch is not set up for the comparison; make it with: bash tests/parity/setup.sh")
    names = arguments.part or list(parts.SHORT if short else parts.PARTS)
    if unknown := [name for name in names if short and name not in parts.SHORT]:
        sys.exit(f"error: --short has no part {unknown[0]}")
    folder = arguments.folder or PROJECT / "runs" / ("alignment-short" if short else "alignment")
    out = arguments.out or (folder if short else PROJECT / "docs" / "alignment")
    out.mkdir(parents=True, exist_ok=True)
    broken = []
    for name in names:
        made = align(name, short, folder / name)
        (out / f"{name}.json").write_text(json.dumps(made) + "\n")
        if name != "full":
            pictures.images(name, folder / name, out / f"{name}.jpg")
        if not record.passed(made):
            broken.append(name)
    show(recorded(out, short), out)
    if broken:
        sys.exit(f"error: further apart than the yardstick allows: {', '.join(broken)}")


if __name__ == "__main__":
    main()
