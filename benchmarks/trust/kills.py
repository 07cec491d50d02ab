"""Kill the kit at random moments, start it again until it is done, and compare with what was never killed.

    python -m benchmarks.trust.kills

Every stage that trains is killed with SIGKILL, and so is inference. The run folder and the output folder have to end
with the same bytes in every file: weights, optimizer, averages, logs, pictures.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.trust import forks
from benchmarks.trust.common import (
    PER_PROCESS,
    Broken,
    Figures,
    Record,
    Scene,
    contents,
    kit,
    make_scene,
    parser,
    require_equal,
    run_well,
    shown,
    start,
)
from benchmarks.trust.faults import get_ready_to_fork

Process = subprocess.Popen[bytes] | forks.Forked
LONG, SHORT = 25, 1
"""Kills of a stage."""
TRAINING = "diffusion_training"
STAGES = {
    "autoencoder": ("train", "smoke", ["autoencoder_training.max_steps=24", "autoencoder_training.checkpoint_every=2"]),
    "diffusion": ("train", "smoke", [f"{TRAINING}.max_steps=12", f"{TRAINING}.distance_every=6"]),
    "segmenter": ("train segmenter", "smoke", ["segmenter.max_steps=24", "segmenter.checkpoint_every=3"]),
    "gan": ("train", "smoke_gaugan", ["gan_training.max_steps=8", "data.size=[64,32]"]),
}
"""The command, the config and its changes, such that a state is saved every few steps."""


def training(scene: Scene, stage: str) -> Callable[[Path], list[str]]:
    command, config, settings = STAGES[stage]
    changed = [word for setting in settings for word in ("--set", setting)]
    given = ["--autoencoder", scene.model] if stage == "diffusion" else []
    return lambda folder: kit(*command.split(), scene.data, "--config", config, *changed, *given, "--run", folder)


def trains(folder: Path, process: Process, log: Path) -> bool:
    lock = folder / "run.lock"
    return lock.exists() and lock.read_text().startswith(f"process {process.pid} ")


def generates(folder: Path, process: Process, log: Path) -> bool:
    return "model: " in log.read_text(errors="replace")


def chain(
    command: Callable[[Path], list[str]],
    busy: Callable[[Path, Process, Path], bool],
    folder: Path,
    kills: int,
    seed: int,
) -> Figures:
    """Kill so many times, in as many runs as it takes, and compare each with one that was never killed."""
    whole, draws = folder / "whole" / "run", random.Random(seed)  # a report tells the folder's name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = time.monotonic()
    run_well(command(whole))
    longest = 0.3 * (time.monotonic() - before)
    expected, done, runs = contents(whole, *PER_PROCESS), 0, 0
    while done < kills:
        killed = folder / "killed" / "run"
        while done < kills and interrupted(command(killed), partial(busy, killed), draws.uniform(0, longest), folder):
            done += 1
        run_well(command(killed))
        require_equal(contents(killed, *PER_PROCESS), expected, f"{shown(command(killed))}, killed {done} times")
        shutil.rmtree(killed)
        runs += 1
    return {"kills": done, "runs": runs, "files": len(expected)}


def interrupted(command: list[str], busy: Callable[[Process, Path], bool], seconds: float, folder: Path) -> bool:
    """Kill the command so many seconds after it is busy. Returns False where it came to its end before."""
    log = folder / "log"
    with log.open("wb") as file:
        process = start(command, file, file)
        while process.poll() is None and not busy(process, log):
            time.sleep(0.02)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True
    if process.returncode:
        raise Broken(f"{shown(command)} ended with status {process.returncode}: {log.read_text()[-200:]}")
    return False


def main() -> int:
    arguments = parser(__doc__).parse_args()
    get_ready_to_fork()
    scene, folder = make_scene(arguments.folder), arguments.folder / "kills"
    kills = SHORT if arguments.short else LONG
    stages = ("gan",) if arguments.short else tuple(STAGES)
    cases = {
        f"{kills} kills of {stage}": partial(chain, training(scene, stage), trains, folder / stage, kills, seed)
        for seed, stage in enumerate(stages)
    }
    many = make_scene(arguments.folder, 48)
    count = kills * len(stages)
    cases[f"{count} kills of inference"] = partial(chain, many.infer, generates, folder / "inference", count, 9)
    return Record(arguments.folder, "kills").go_through(cases)


if __name__ == "__main__":
    sys.exit(main())
