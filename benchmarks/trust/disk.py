"""A disk that fills up, in every command that writes, at every part of its work.

    python -m benchmarks.trust.disk

The command ends with status 2 and one line that names a file and says so. Given again with room, it ends well, with the
same bytes as where there was room from the start. The disk is full to the program only: `faults.cpp` refuses whatever
needs room in one folder.
"""

from __future__ import annotations

import shutil
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

LONG, SHORT = 6, 1
"""Places in a command's work, spread evenly."""


def commands(scene: Scene) -> dict[str, list[str]]:
    """The command lines; OUT stands for the folder whose disk is full, where OUT/images has been painted and scored."""
    out, inputs = Path("OUT"), ["--masks", scene.masks, "--refs", scene.references]
    trains = ["train", scene.data, "--run", out / "run", "--config"]
    experiment = ["--config", "smoke", "--checkpoint", scene.model, "--data", scene.data, "--count", 2, "--out"]
    return {
        "infer": scene.infer(out / "new"),
        "data synth": kit("data", "synth", out / "data", "--count", 4, "--size", "64x48"),
        "data split": kit("data", "split", scene.data, out / "split", "--validation-fraction", 0.25),
        "data encode": kit("data", "encode", scene.data, out / "latents", "--checkpoint", scene.model),
        "train": kit(*trains, "smoke", "--set", "diffusion_training.max_steps=2"),
        "train segmenter": kit("train", "segmenter", scene.data, "--run", out / "run", "--config", "smoke"),
        "train a GAN": kit(*trains, "smoke_gaugan", "--set", "data.size=[64,32]"),
        "convert": kit("convert", scene.model, out / "new.safetensors"),
        "export": kit("export", scene.model, out / "half.safetensors"),
        "average": kit("average", scene.model, scene.model, "--out", out / "mean.safetensors"),
        "score": kit("score", out / "images", *inputs),
        "submit": kit("submit", out / "images", scene.masks, "--size", "64x48"),
        "compare": kit("compare", out / "images", "--out", out / "comparison.jpg"),
        "ablate": kit("ablate", *experiment, out / "ablation"),
        "sweep": kit("sweep", *experiment, out / "sweep", "--starts", 300, 600),
    }


def fill(command: list[str], painted: Path, folder: Path, places: int) -> Figures:
    """Run the command with a full disk from each of some places in its work on."""
    prepare(folder, painted)
    made = changes(placed(command, folder), folder)
    expected = contents(folder, *PER_PROCESS)  # of the same folder, since some files tell its name
    for place in range(places):
        number = 1 + (2 * place + 1) * len(made) // (2 * places)
        prepare(folder, painted)
        full_at(number, made[number - 1].replace(str(folder), "OUT"), placed(command, folder), folder, expected)
    return {"places": places, "changes": len(made)}


def full_at(number: int, change: str, command: list[str], folder: Path, expected: dict[str, str]) -> None:
    result = run_with_fault(command, folder, "full", number)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    if result.returncode == 0:
        require_equal(contents(folder, *PER_PROCESS), expected, f"full at {change}, which it did not need")
        return
    if result.returncode != 2 or len(errors) != 1 or "No space left" not in errors[0] or str(folder) not in errors[0]:
        raise Broken(f"full at {change}: status {result.returncode}, {result.stderr[-300:]!r}")
    run_well(command)
    require_equal(contents(folder, *PER_PROCESS), expected, f"full at {change}, then with room")


def prepare(folder: Path, painted: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(painted, folder / "images")


def placed(command: list[str], folder: Path) -> list[str]:
    return [f"{folder}{word[3:]}" if word.startswith("OUT/") else word for word in command]


def paint(scene: Scene, folder: Path) -> Path:
    """An output folder with its scores."""
    shutil.rmtree(folder, ignore_errors=True)
    run_well(scene.infer(folder))
    run_well(kit("score", folder, "--masks", scene.masks, "--refs", scene.references))
    return folder


def main() -> int:
    arguments = parser(__doc__).parse_args()
    get_ready_to_fork()
    scene, folder = make_scene(arguments.folder), arguments.folder / "disk"
    places = SHORT if arguments.short else LONG
    painted = paint(scene, arguments.folder / "painted")
    cases = {name: partial(fill, command, painted, folder, places) for name, command in commands(scene).items()}
    if arguments.short:
        cases = {name: cases[name] for name in ("infer", "train segmenter")}
    return Record(arguments.folder, "disk").go_through(cases)


if __name__ == "__main__":
    sys.exit(main())
