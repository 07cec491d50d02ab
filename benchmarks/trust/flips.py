"""Flip one bit of one file in a folder that a killed command has left, and give the command again.

    python -m benchmarks.trust.flips

It either ends with the bytes that it would have ended with, or with status 2 and one line that names the file. A
flipped file that the command does not need may stay as it is. Images and logs have no checksum: where one of them is
flipped, the command has to end with one of the two exit statuses, and may show what is flipped.
"""

from __future__ import annotations

import random
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.trust.common import (
    PER_PROCESS,
    Broken,
    Figures,
    Record,
    contents,
    make_scene,
    parser,
    require_equal,
    run,
)
from benchmarks.trust.faults import changes, get_ready_to_fork, run_with_fault
from benchmarks.trust.kills import STAGES, training

LONG, SHORT = 60, 2
"""Flips for a command."""
HALF = 0.7
"""The share of its changes after which the command is killed."""
UNSEALED = (".png", ".jpg", ".jsonl")
"""Files without a checksum."""


def flips(command: Callable[[Path], list[str]], folder: Path, count: int, seed: int) -> Figures:
    shutil.rmtree(folder, ignore_errors=True)
    whole, half, flipped = (folder / name / "run" for name in ("whole", "half", "flipped"))
    made = len(changes(command(whole), whole))
    expected = contents(whole, *PER_PROCESS)
    result = run_with_fault(command(half), half, "kill", int(HALF * made))
    if result.returncode != -signal.SIGKILL:
        raise Broken(f"it was to be killed, and ended with status {result.returncode}")
    draws, refused = random.Random(seed), 0
    for _ in range(count):
        shutil.rmtree(flipped, ignore_errors=True)
        shutil.copytree(half, flipped)
        refused += flip(command(flipped), flipped, expected, draws)
    return {"flips": count, "refused": refused, "unnoticed or made again": count - refused}


def flip(command: list[str], folder: Path, expected: dict[str, str], draws: random.Random) -> bool:
    """Whether the command refuses a folder with one bit flipped."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    file = draws.choice([path for path in files if path.name not in PER_PROCESS])
    content = bytearray(file.read_bytes())
    place, bit = draws.randrange(len(content)), draws.randrange(8)
    content[place] ^= 1 << bit
    file.write_bytes(content)
    told = f"bit {bit} of byte {place} of {file.relative_to(folder)}"
    result = run(command)
    if result.returncode == 0:
        if file.suffix not in UNSEALED:
            found, others = (
                {name: digest for name, digest in each.items() if folder / name != file}
                for each in (contents(folder, *PER_PROCESS), expected)
            )
            require_equal(found, others, told)
        return False
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    if result.returncode != 2 or len(errors) != 1 or str(file) not in errors[0]:
        raise Broken(f"{told}: status {result.returncode}, {result.stderr[-300:]!r}")
    return True


def main() -> int:
    arguments = parser(__doc__).parse_args()
    get_ready_to_fork()
    scene, folder = make_scene(arguments.folder), arguments.folder / "flips"
    count = SHORT if arguments.short else LONG
    stages = ("segmenter",) if arguments.short else STAGES
    commands = {stage: training(scene, stage) for stage in stages} | {"inference": scene.infer}
    cases = {
        f"{count} flips, {name}": partial(flips, command, folder / name, count, seed)
        for seed, (name, command) in enumerate(commands.items())
    }
    return Record(arguments.folder, "flips").go_through(cases)


if __name__ == "__main__":
    sys.exit(main())
