"""Training on several ranks against training in one process: the losses of every step, and all final weights.

    python -m benchmarks.quality.ranks --steps 50 --ranks 2 4

Every stage of the smoke configs is trained on batches of four. "loss" is the largest relative difference of a logged
loss, "weights" the relative L2 difference of a network's weights. Single biases whose true gradient is zero move by
rounding: Adam makes a full step of whatever is there. The learning rate is low, because training amplifies rounding:
at the configs' own rates the paths part after some tens of steps, as they do for another order of summation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import cli

RATE = 1e-5
DIFFUSION = {
    "autoencoder_training": {"max_steps": "{steps}", "batch_size": 4, "discriminator_start": 20, "learning_rate": RATE},
    "diffusion_training": {
        "max_steps": "{steps}",
        "learning_rate": RATE,
        "accumulation_steps": 1,
        "distance_every": "null",
        "validate_every": 1000,
        "checkpoint_every": 1000,
    },
}
GAN = {
    "gan_training": {
        "max_steps": "{steps}",
        "batch_size": 4,
        "decay_steps": 0,
        "checkpoint_every": 1000,
        "generator_rate": RATE,
        "discriminator_rate": RATE,
    }
}
SEGMENTER = {"segmenter": {"max_steps": "{steps}", "batch_size": 4, "learning_rate": RATE}}

STAGES = {
    "diffusion": (["train", "--config", "smoke"], DIFFUSION),
    "GauGAN": (["train", "--config", "smoke_gaugan"], GAN),
    "segmenter": (["train", "segmenter", "--config", "smoke"], SEGMENTER),
}


def train(command: list[str], settings: dict, steps: int, ranks: int, folder: Path) -> None:
    given = [
        f"{section}.{key}={str(value).format(steps=steps)}"
        for section, values in settings.items()
        for key, value in values.items()
    ]
    words = [*command, *(word for assignment in given for word in ("--set", assignment)), "--run", folder]
    words += ["--device", "cpu", *(["--ranks", ranks] if ranks > 1 else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "jiidm", *map(str, words)], check=True, env=environment, stdout=sys.stderr)


def networks_of(folder: Path) -> dict[str, np.ndarray]:
    """Each network's weights in a row, by its name: of the files that a run ends with, and of its state."""
    from ldm_jittor import checkpoint

    found: dict[str, list[np.ndarray]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name == "state.previous.safetensors":
            continue
        for name, array in checkpoint.load(path).arrays.items():
            parts = name.split(".")
            if path.name != "state.safetensors":
                found.setdefault(f"{path.stem}: {parts[0]}", []).append(array.ravel())
            elif parts[1] == "parameters":
                found.setdefault(f"trained: {parts[0]}", []).append(array.ravel())
    return {name: np.concatenate(arrays).astype(np.float64) for name, arrays in found.items()}


def losses_of(folder: Path) -> np.ndarray:
    records = [json.loads(line) for log in sorted(folder.glob("*.jsonl")) for line in log.read_text().splitlines()]
    return np.array([record["loss"] for record in records if "loss" in record])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--stage", choices=STAGES, nargs="+", default=list(STAGES))
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for stage in arguments.stage:
            runs = {ranks: Path(name) / f"{stage}_{ranks}" for ranks in (1, *arguments.ranks)}
            for ranks, folder in runs.items():
                train(*STAGES[stage], arguments.steps, ranks, folder)
            one, losses = networks_of(runs[1]), losses_of(runs[1])
            for ranks in arguments.ranks:
                several = networks_of(runs[ranks])
                loss = np.max(np.abs(losses_of(runs[ranks]) - losses) / np.abs(losses))
                for network, weights in one.items():
                    difference = np.linalg.norm(several[network] - weights) / np.linalg.norm(weights)
                    rows.append([stage, network, ranks, f"{loss:.0e}", f"{difference:.0e}"])
    cli.show(rows, "stage", "network", "ranks", "loss", "weights")


if __name__ == "__main__":
    from benchmarks.common import jittor_side

    jittor_side.start("cpu")
    main()
