"""Training on several ranks against training in one process: the losses of every step, and all final weights.

    python -m benchmarks.quality.ranks --steps 50 --ranks 2 4                 at a low learning rate
    python -m benchmarks.quality.ranks --steps 50 --ranks 2 4 --published     at the published ones

Every stage of the smoke configs is trained on batches of four. All differences are relative, the largest of all steps:

    loss       the loss of a step
    gradient   L2, of every tenth step's gradients, which rank 0 alone computes from the same weights
    step       L2, of a network's weights after such a step
    weights    L2, of a network's weights at the end

0 means equal to the bit.

"2 threads" is one process with two threads, while all others have one: another order of summation, and nothing else. It
shows how far rounding alone drives two paths apart. Runs that are done stay in --out, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import cli
from benchmarks.quality.rank_run import difference
from jiidm.system import launch

LOW = 1e-5
"""Training amplifies rounding: at higher rates two paths part after some tens of steps."""
THREADS = "2 threads"


class Stages(NamedTuple):
    """Stages that one command trains."""

    command: list[str]
    settings: list[str]
    rates: dict[str, float]
    """The published ones."""


def _gan(method: str, *options: str) -> Stages:
    settings = ["max_steps={steps}", "batch_size=4", "decay_steps=0", "checkpoint_every=1000"]
    return Stages(
        ["train", "--config", "smoke_gaugan"],
        [f"method={method}", *(f"gan_training.{setting}" for setting in settings), *options],
        {"gan_training.generator_rate": 1e-4, "gan_training.discriminator_rate": 4e-4},
    )


STAGES = {
    "diffusion": Stages(
        ["train", "--config", "smoke"],
        [
            *("autoencoder_training.max_steps={steps}", "autoencoder_training.batch_size=4"),
            "autoencoder_training.discriminator_start=20",
            *("diffusion_training.max_steps={steps}", "diffusion_training.accumulation_steps=1"),
            *("diffusion_training.distance_every=null", "diffusion_training.validate_every=1000"),
            "diffusion_training.checkpoint_every=1000",
        ],
        {"autoencoder_training.learning_rate": 1e-4, "diffusion_training.learning_rate": 1e-4},
    ),
    "segmenter": Stages(
        ["train", "segmenter", "--config", "smoke"],
        ["segmenter.max_steps={steps}", "segmenter.batch_size=4"],
        {"segmenter.learning_rate": 6e-5},
    ),
    "gaugan": _gan("gaugan"),
    "clade": _gan("clade", "gan.distance_map=true"),
    "sean": _gan("sean", "gan.style_channels=4"),
    "scgan": _gan("scgan", "gan.routing_channels=4", "gan.fc_channels=2"),
}


class Run(NamedTuple):
    weights: dict[str, np.ndarray]
    """Of each network, named STAGE: NETWORK."""
    told: dict[str, Any]


def train(stages: Stages, steps: int, published: bool, kind: int | str, folder: Path) -> Run:
    """kind: how many ranks, or THREADS. A run that `folder` holds is taken from there."""
    count, threads = (1, 2) if kind == THREADS else (int(kind), 1)
    rates = [f"{key}={rate if published else LOW}" for key, rate in stages.rates.items()]
    given = [word.format(steps=steps) for word in (*stages.settings, *rates)]
    out = folder / f"{kind}"
    command = [*(launch.mpirun(count) if count > 1 else []), sys.executable, "-m", "benchmarks.quality.rank_run"]
    command += [str(out), *stages.command, "--device", "cpu", "--run", str(folder / f"run_{kind}")]
    command += [word for setting in given for word in ("--set", setting)]
    if not out.with_suffix(".json").exists():  # which is written last
        shutil.rmtree(folder / f"run_{kind}", ignore_errors=True)
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, stdout=sys.stderr)
    with np.load(out.with_suffix(".npz")) as weights:
        return Run(dict(weights), json.loads(out.with_suffix(".json").read_text()))


def compare(name: str, kind: int | str, run: Run, one: Run) -> list[list[object]]:
    """A row a network."""
    rows = []
    for network, weights in one.weights.items():
        stage = network.partition(":")[0]
        losses = np.array(one.told["losses"][stage])
        loss = np.max(np.abs(np.array(run.told["losses"][stage]) - losses) / np.abs(losses))
        alone = (run.told[what].get(network) for what in ("gradients", "steps"))
        rows.append([name, network, kind, *_shown(loss, *alone, difference(run.weights[network], weights))])
    return rows


def _shown(*values: float | None) -> Iterable[str]:
    return ("-" if value is None else f"{value:.0e}" if value else "0" for value in values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--published", action="store_true", help="the published learning rates")
    parser.add_argument("--stage", choices=STAGES, nargs="+", default=list(STAGES))
    parser.add_argument(
        "--out", type=Path, default=Path("runs/ranks"), help="folder of the runs (default: %(default)s)"
    )
    arguments = parser.parse_args()
    rows: list[list[object]] = []
    kinds = (THREADS, *arguments.ranks)
    for number, name in enumerate(arguments.stage):
        folder = arguments.out / f"{name}_{arguments.steps}{'_published' if arguments.published else ''}"
        folder.mkdir(parents=True, exist_ok=True)
        given = STAGES[name], arguments.steps, arguments.published
        print(f"{name}: stage {number + 1} of {len(arguments.stage)}, {1 + len(kinds)} runs", file=sys.stderr)
        one = train(*given, 1, folder)
        for kind in kinds:
            rows += compare(name, kind, train(*given, kind, folder), one)
            print(*rows[-len(one.weights) :], sep="\n", file=sys.stderr, flush=True)
    cli.show(rows, "run", "network", "ranks", "loss", "gradient", "step", "weights")


if __name__ == "__main__":
    main()
