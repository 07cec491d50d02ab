"""What the checks of trust share: the kit in processes of its own, inputs for it, and a list of cases to go through."""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tqdm import tqdm

from benchmarks.trust import forks

PROJECT = Path(__file__).resolve().parents[2]
Figures = dict[str, float]
PER_PROCESS = ("run.lock",)
"""Files that name the process."""


class Broken(Exception):
    """A promise was not kept; the message says which."""


class Scene(NamedTuple):
    """Inputs of every command, at the smoke config's size."""

    data: Path
    model: Path

    @property
    def masks(self) -> Path:
        return self.data / "labels"

    @property
    def references(self) -> Path:
        return self.data / "references.json"

    def infer(self, out: Path, *more: object) -> list[str]:
        return kit("infer", self.masks, self.references, out, "--checkpoint", self.model, *more)


def kit(*arguments: object) -> list[str]:
    """A command of the kit, on the CPU."""
    computes = arguments[0] in ("train", "infer", "score", "ablate", "sweep") or arguments[:2] == ("data", "encode")
    device = ["--device", "cpu"] if computes else []
    return [sys.executable, "-m", "jiidm", *map(str, arguments), *device]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the kit to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        status = start(command, out, errors, **environment).wait()
        told = []
        for file in (out, errors):
            file.seek(0)
            told.append(file.read().decode(errors="replace"))
    return subprocess.CompletedProcess(command, status, *told)


def start(
    command: list[str], out: BinaryIO, errors: BinaryIO, **environment: str
) -> subprocess.Popen[bytes] | forks.Forked:
    """Start a command of the kit, forked if this process is ready for that."""
    if forks.is_ready() and command[1:3] == ["-m", "jiidm"]:
        return forks.Forked(command[3:], environment, out, errors)
    return subprocess.Popen(command, env=variables(**environment), stdin=subprocess.DEVNULL, stdout=out, stderr=errors)


def run_well(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Raises Broken where the command fails."""
    result = run(command, **environment)
    if result.returncode:
        lines = result.stderr.splitlines() or ["nothing"]
        raise Broken(f"{shown(command)} ended with status {result.returncode}: {lines[-1]}")
    return result


def variables(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONUNBUFFERED": "1", **more}


def shown(command: list[str]) -> str:
    return " ".join(["jiidm", *command[3:]])


def make_scene(folder: Path, count: int = 12) -> Scene:
    """Landscapes with references, and a model that the smoke config has made of them."""
    from jiidm.data.references import find_masks, next_of_each, write_references
    from jiidm.data.synthetic.dataset import write_dataset
    from jiidm.size import Size

    scene = Scene(folder / f"data_{count}", folder / "model" / "model.safetensors")
    write_dataset(scene.data, count, Size(48, 64), seed=1, progress=False)
    others = next_of_each(find_masks(scene.masks))
    write_references(scene.references, {mask.name: f"{other.stem}.jpg" for mask, other in others.items()})
    if not scene.model.exists():
        run_well(kit("train", scene.data, "--config", "smoke", "--run", scene.model.parent))
    return scene


def contents(folder: Path, *without: str) -> dict[str, str]:
    """The SHA-256 of every file in a folder by its name, temporary ones too, except those named `without`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in without]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def require_equal(found: Mapping[str, str], expected: Mapping[str, str], told: str) -> None:
    """Raises Broken where two `contents` differ."""
    different = sorted(name for name in {**found, **expected} if found.get(name) != expected.get(name))
    if different:
        raise Broken(f"{told}: {len(different)} of {len(expected)} files differ, {', '.join(different[:3])}")


class Record:
    """The cases of one check that were done with today's code, in a file, so that a stopped call goes on."""

    def __init__(self, folder: Path, name: str):
        self.name, self.path, self.figures = name, folder / f"{name}.jsonl", {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                entry = json.loads(line)
                if entry["code"] == code():
                    self.figures[entry["case"]] = entry["figures"]

    def go_through(self, cases: Mapping[str, Callable[[], Figures]]) -> int:
        """Do every case that is not done yet. Tells the promises that are broken. Returns the exit status."""
        left = {case: work for case, work in cases.items() if case not in self.figures}
        broken = 0
        with tqdm(left.items(), desc=self.name, unit="case") as progress:
            for case, work in progress:
                progress.set_postfix_str(case)
                try:
                    figures = work()
                except Broken as fault:
                    broken += 1
                    progress.write(f"BROKEN {case}: {fault}", file=sys.stderr)
                    continue
                self.figures[case] = figures
                with self.path.open("a") as file:
                    file.write(json.dumps({"code": code(), "case": case, "figures": figures}) + "\n")
        from jiidm.report.tables import table

        found = {case: self.figures[case] for case in cases if case in self.figures}
        rows = [(case, ", ".join(f"{name} {value}" for name, value in each.items())) for case, each in found.items()]
        print(table(rows, ("case", "found")))
        print(f"{self.name}: {len(cases) - broken} of {len(cases)} cases kept their promise")
        return int(broken > 0)


@functools.cache
def code() -> str:
    """A digest of the kit's code and of the checks'."""
    digest = hashlib.sha256()
    for folder in ("jiidm", "ldm_jittor", "benchmarks/trust"):
        for path in sorted((PROJECT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few cases, as in the tests")
    help = "where runs and the list of done cases lie (default: runs/trust)"
    parser.add_argument("--folder", type=Path, default=PROJECT / "runs" / "trust", metavar="DIR", help=help)
    return parser
