"""Memory over long runs: 2,000 steps of every stage that trains, 300 images, and 16 images of 4000x3000.

    python -m benchmarks.trust.memory

The resident memory of the process must not grow once it has warmed up. The large images have to stay below 1.1 GB.
docs/img/memory.png shows the resident memory over time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common.duel import memory
from benchmarks.trust.common import PROJECT, Broken, Figures, Record, Scene, kit, make_scene, parser, shown, variables
from jiidm.data.images import resize_image, resize_mask, save_jpeg, save_png
from jiidm.data.references import write_references
from jiidm.data.synthetic.dataset import landscape
from jiidm.size import Size

LONG, SHORT = (2000, 300), (40, 12)
"""Training steps and images."""
GROWTH, SHORT_GROWTH = 16, 256
"""MiB that a process may grow by between the third fifth of its time and the last. A short one still warms up."""
LARGE, LARGE_COUNT, LARGE_PEAK = Size(3000, 4000), 16, 1.1e9 / 2**20
"""The size of large images, how many there are, and the MiB that they may take."""
PLOT = PROJECT / "docs" / "img" / "memory.png"


def commands(scene: Scene, many: Scene, folder: Path, steps: int) -> dict[str, list[str]]:
    def train(name: str, command: str, config: str, section: str, *more: object) -> list[str]:
        changed = [f"{section}.max_steps={steps}", f"{section}.checkpoint_every={max(steps // 4, 1)}"]
        settings = [word for change in changed for word in ("--set", change)]
        return kit(*command.split(), scene.data, "--config", config, *settings, *more, "--run", folder / name)

    short = ("--set", "diffusion_training.max_steps=1")
    rare = ("--set", f"diffusion_training.distance_every={steps}", "--set", "diffusion_training.validate_every=100")
    return {
        "diffusion": train("diffusion", "train", "smoke", "diffusion_training", "--autoencoder", scene.model, *rare),
        "autoencoder": train("autoencoder", "train", "smoke", "autoencoder_training", *short),
        "segmenter": train("segmenter", "train segmenter", "smoke", "segmenter"),
        "GAN": train("gan", "train", "smoke_gaugan", "gan_training", "--set", "data.size=[64,32]"),
        "inference": many.infer(folder / "images"),
    }


def large_inputs(folder: Path) -> tuple[Path, Path]:
    """Masks and the JSON of their photos, all enlarged."""
    masks, photos, references = folder / "labels", folder / "imgs", folder / "references.json"
    masks.mkdir(parents=True, exist_ok=True)
    photos.mkdir(exist_ok=True)
    for number in range(LARGE_COUNT if not references.exists() else 0):
        photo, mask = landscape(number, Size(300, 400), seed=1)
        save_png(masks / f"m{number}.png", resize_mask(mask, LARGE))
        save_jpeg(photos / f"p{number}.jpg", resize_image(photo, LARGE))
    write_references(references, {f"m{number}.png": f"p{number}.jpg" for number in range(LARGE_COUNT)})
    return masks, references


def watch(command: list[str], curve: Path, growth: float, most: float = float("inf")) -> Figures:
    """Run the command, and keep its resident memory in MiB by the second in `curve`. Raises Broken where it grows by
    more than `growth` or takes more than `most`.
    """
    start, points, peak = time.monotonic(), [], 0.0
    process = subprocess.Popen(
        command, env=variables(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    told = Tail(process)
    while process.poll() is None:
        try:
            points.append((time.monotonic() - start, 1024 * memory(process.pid, "VmRSS")))
            peak = 1024 * memory(process.pid, "VmHWM")
        except (OSError, TypeError):  # it has just ended
            break
        time.sleep(0.1)
    if process.wait():
        raise Broken(f"{shown(command)} ended with status {process.returncode}: {told.end()}")
    curve.write_text(json.dumps(points))
    sizes = np.array(points)[:, 1]
    fifths = np.array_split(sizes, 5)
    before, after = float(np.median(fifths[2])), float(np.median(fifths[4]))
    figures = {"MiB": round(after), "growth in MiB": round(after - before), "peak in MiB": round(peak)}
    if after - before > growth or peak > most:
        raise Broken(f"{shown(command)}: {figures}")
    return figures


class Tail:
    """Reads what a process tells, so that it never waits for a reader, and keeps the end."""

    def __init__(self, process: subprocess.Popen):
        self._lines: list[bytes] = []
        self._thread = threading.Thread(target=self._read, args=(process,), daemon=True)
        self._thread.start()

    def _read(self, process: subprocess.Popen) -> None:
        for line in process.stderr:
            self._lines = [*self._lines[-3:], line]

    def end(self) -> str:
        self._thread.join()
        return b"".join(self._lines).decode(errors="replace")[-200:]


def draw(curves: Mapping[str, Path], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="share of the run's time, %", ylabel="resident memory, MiB")
    for name, curve in curves.items():
        seconds, sizes = np.array(json.loads(curve.read_text())).T
        axes.plot(100 * seconds / seconds[-1], sizes, label=name)
    axes.grid(alpha=0.3)
    axes.legend(ncols=3)
    axes.set_ylim(0)
    figure.savefig(path)


def main() -> int:
    arguments = parser(__doc__).parse_args()
    steps, images = SHORT if arguments.short else LONG
    scene, many = make_scene(arguments.folder), make_scene(arguments.folder, images)
    folder = arguments.folder / "memory"
    shutil.rmtree(folder / "runs", ignore_errors=True)
    folder.mkdir(exist_ok=True)
    works = commands(scene, many, folder / "runs", steps)
    if arguments.short:
        works = {name: works[name] for name in ("diffusion", "inference")}
    curves, growth = {name: folder / f"{name}.json" for name in works}, SHORT_GROWTH if arguments.short else GROWTH
    amount = {name: f"{images} images" if name == "inference" else f"{steps} steps" for name in works}
    cases = {f"{name}, {amount[name]}": partial(watch, works[name], curves[name], growth) for name in works}
    if not arguments.short:
        given = kit("infer", *large_inputs(folder / "large"), folder / "runs" / "large", "--checkpoint", scene.model)
        large = partial(watch, given, folder / "large.json", float("inf"), LARGE_PEAK)
        cases[f"inference, {LARGE_COUNT} images of {LARGE}"] = large
    status = Record(arguments.folder, "memory").go_through(cases)
    if not arguments.short:
        draw({name: curve for name, curve in curves.items() if curve.exists()}, PLOT)
    return status


if __name__ == "__main__":
    sys.exit(main())
