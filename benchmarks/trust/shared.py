"""Several processes in one output folder, and in one run folder.

    python -m benchmarks.trust.shared

Two and four `infer` that make the same thing share a folder: all succeed, and its images are those of one alone. Where
they would make different things, one makes its images, the others are refused by name, and nothing is mixed. In one run
folder one `train` trains, and the others are refused by name.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.trust.common import (
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
    variables,
)


def at_once(commands: list[list[str]]) -> list[tuple[int, str]]:
    """Start all, wait for all: their exit statuses and stderr."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, env=variables(), text=True, **pipes) for command in commands]
    told = [process.communicate()[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, told)]


def images(folder: Path) -> dict[str, str]:
    """The images and noisy starts. The sheet shows whose call drew it."""
    return {name: digest for name, digest in contents(folder).items() if name.endswith(".jpg") and "sheet" not in name}


def same_thing(scene: Scene, folder: Path, count: int) -> Figures:
    shutil.rmtree(folder, ignore_errors=True)
    run_well(scene.infer(folder / "alone"))
    for status, told in at_once([scene.infer(folder / "out")] * count):
        if status:
            raise Broken(f"one of {count} ended with status {status}: {told[-200:]}")
    require_equal(images(folder / "out"), images(folder / "alone"), f"{count} processes in one folder")
    _require_no_temporaries(folder / "out")
    return {"processes": count}


def different_things(scene: Scene, folder: Path, count: int) -> Figures:
    shutil.rmtree(folder, ignore_errors=True)
    ends = at_once([scene.infer(folder / "out", "--seed", seed) for seed in range(count)])
    winners = [seed for seed, (status, _) in enumerate(ends) if status == 0]
    if len(winners) != 1 or any(status not in (0, 2) for status, _ in ends):
        raise Broken(
            f"of {count} with other seeds these ended well: {winners}, statuses {[status for status, _ in ends]}"
        )
    for seed, (status, told) in enumerate(ends):
        if status and str(folder / "out") not in told.splitlines()[-1]:
            raise Broken(f"seed {seed} was refused without the folder's name: {told[-200:]}")
    run_well(scene.infer(folder / "alone", "--seed", winners[0]))
    require_equal(images(folder / "out"), images(folder / "alone"), f"seed {winners[0]} among {count}")
    _require_no_temporaries(folder / "out")
    return {"processes": count}


def two_trainings(scene: Scene, folder: Path, count: int) -> Figures:
    shutil.rmtree(folder, ignore_errors=True)

    def train(run: Path) -> list[str]:
        return kit("train", scene.data, "--config", "smoke", "--run", run)

    ends = at_once([train(folder / "run")] * count)
    statuses = sorted(status for status, _ in ends)
    if statuses != [0] + [2] * (count - 1):
        raise Broken(f"{count} trainings in one folder ended with {statuses}")
    for status, told in ends:
        if status and "trains here" not in told.splitlines()[-1]:
            raise Broken(f"refused, but not told why: {told[-200:]}")
    run_well(train(folder / "alone" / "run"))
    without = ("run.lock",)
    require_equal(
        contents(folder / "run", *without), contents(folder / "alone" / "run", *without), f"one of {count} trainings"
    )
    return {"processes": count}


def _require_no_temporaries(folder: Path) -> None:
    if left := [name for name in contents(folder) if ".tmp" in name]:
        raise Broken(f"left behind: {left}")


def main() -> int:
    arguments = parser(__doc__).parse_args()
    scene, folder = make_scene(arguments.folder), arguments.folder / "shared"
    works = {"the same thing": same_thing, "different things": different_things, "trainings": two_trainings}
    cases = {
        f"{count} processes, {name}": partial(work, scene, folder, count)
        for name, work in works.items()
        for count in ((2,) if arguments.short else (2, 4))
        if work != two_trainings or not arguments.short
    }
    return Record(arguments.folder, "shared").go_through(cases)


if __name__ == "__main__":
    sys.exit(main())
