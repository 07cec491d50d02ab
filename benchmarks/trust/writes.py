"""Kill a training run of 12 steps at every single change that it makes to its folder, and let it go on.

    python -m benchmarks.trust.writes

A change is a file opened for writing, a write (half of it is done; writes to one file in a row are one change), a sync,
a rename, a link, a removal, a new folder.
The run that goes on has to end with the same bytes in every file as one that was never killed. The previous state
alone, which is there for the case that the state is damaged, may be of one save earlier, and has to be complete.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

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
)
from benchmarks.trust.faults import changes, get_ready_to_fork, run_with_fault
from ldm_jittor.errors import CheckpointError

SHORT = 2
"""Changes that the short form looks at."""
PREVIOUS = "state.previous.safetensors"
SETTINGS = {
    "max_steps": 12,
    "checkpoint_every": 4,
    "distance_every": 12,
    "validate_every": 6,
    "log_every": 3,
}


def command(scene: Scene, folder: Path) -> list[str]:
    settings = [word for key, value in SETTINGS.items() for word in ("--set", f"diffusion_training.{key}={value}")]
    return kit("train", scene.data, "--config", "smoke", "--autoencoder", scene.model, *settings, "--run", folder)


def killed_at(number: int, change: str, scene: Scene, folder: Path, expected: dict[str, str]) -> Figures:
    from ldm_jittor import checkpoint

    shutil.rmtree(folder, ignore_errors=True)
    result = run_with_fault(command(scene, folder), folder, "kill", number)
    if result.returncode not in (-signal.SIGKILL, 0):  # the last changes are not reached where a run makes one fewer
        raise Broken(f"it was to be killed at {change}, and ended with status {result.returncode}")
    run_well(command(scene, folder))
    require_equal(contents(folder, *PER_PROCESS, PREVIOUS), expected, f"killed at {change}")
    try:
        checkpoint.load(folder / PREVIOUS)
    except CheckpointError as error:
        raise Broken(f"killed at {change}: {error}") from None
    return {"kills": int(result.returncode != 0)}


def main() -> int:
    arguments = parser(__doc__).parse_args()
    get_ready_to_fork()
    scene, folder = make_scene(arguments.folder), arguments.folder / "writes"
    shutil.rmtree(folder, ignore_errors=True)
    whole, killed = folder / "whole" / "run", folder / "killed" / "run"  # a report tells the folder's name
    made = changes(command(scene, whole), whole)
    print(f"a run makes {len(made)} changes")
    expected = contents(whole, *PER_PROCESS, PREVIOUS)
    numbers = list(range(1, len(made) + 1))
    random.Random(0).shuffle(numbers)  # so that a stopped call has looked everywhere
    if arguments.short:
        numbers = numbers[:SHORT]
    cases = {
        f"change {number}": partial(
            killed_at, number, made[number - 1].replace(str(whole), "RUN"), scene, killed, expected
        )
        for number in numbers
    }
    return Record(arguments.folder, "writes").go_through(cases)


if __name__ == "__main__":
    sys.exit(main())
