"""Short trainings of the demo's U-Net that differ in one setting, and the errors that each makes.

    python -m benchmarks.quality.pilots --out pilots                          all of them, one after another
    python -m benchmarks.quality.pilots --out pilots --only eps v --steps 500

All share landscapes, latents of the shipped autoencoder, seed and steps. The table has the mean squared error of the
predicted clean latent, whose variance is about 1, on validation latents, at timesteps from little noise to much: the
demo's rounds start at 640. Errors compare across what networks predict and how losses weigh timesteps. A training that
was stopped goes on; finished ones are not repeated. `benchmarks.quality.texture` draws what the models generate.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.common import cli, jittor_side

TRAINING = "diffusion_training"
CHOICES: dict[str, list[str]] = {
    "eps": [],
    "eps_snr": [f"{TRAINING}.loss_weighting=min_snr"],
    "v": ["unet.prediction=v"],
    "v_snr": ["unet.prediction=v", f"{TRAINING}.loss_weighting=min_snr"],
    "deep": ["unet.num_res_blocks=2"],
}
TIMESTEPS = (20, 100, 200, 350, 500, 640, 900)
IMAGES, BATCH = 64, 8
SHARED = ("data", "split", "latents")


def train(name: str, steps: int, out: Path, first: Path | None) -> Path:
    """The finished model of a choice. Landscapes and latents are linked from the `first` run's."""
    from jiidm.model.files import MODEL_FILE, SHIPPED

    run = out / name
    for part in SHARED if first and not run.exists() else ():
        shutil.copytree(first / part, run / part, copy_function=os.link)
    settings = [f"{TRAINING}.{key}" for key in (f"max_steps={steps}", f"checkpoint_every={steps}", "distance_every=0")]
    command = [sys.executable, "-m", "jiidm", "train", "--config", "demo", "--autoencoder", str(SHIPPED)]
    command += ["--run", str(run)]
    command += [word for setting in (*settings, *CHOICES[name]) for word in ("--set", setting)]
    if not (run / MODEL_FILE).exists():
        subprocess.run(command, check=True)
    return run / MODEL_FILE


def errors(path: Path) -> list[float]:
    """The mean squared error of x0 at each of TIMESTEPS, on the first validation latents of the model's run."""
    import jittor as jt

    from jiidm.classes import one_hot
    from jiidm.data.latents import LatentDataset
    from jiidm.data.pairs import find_pairs, read_split
    from jiidm.model.files import load_model
    from jiidm.seeding import normal
    from ldm_jittor.denoiser import Denoiser

    model, run = load_model(path), path.parent
    (latents,) = (run / "latents").iterdir()
    pairs = read_split(run / "split", find_pairs(run / "data"))[1]
    examples = LatentDataset(latents, [pair.stem for pair in pairs], model.space.scale)
    squared = np.zeros(len(TIMESTEPS))
    with jt.no_grad():
        for start in range(0, IMAGES, BATCH):
            z0, masks = map(np.stack, zip(*(examples[i, 0] for i in range(start, start + BATCH))))
            segmap = jt.array(np.stack([one_hot(mask) for mask in masks]))
            denoiser = Denoiser(model.unet, model.schedule, segmap, model.config.latent_size)
            for i, timestep in enumerate(TIMESTEPS):
                eps = jt.array(normal(z0.shape, "pilots", start, timestep))
                x0 = denoiser(model.schedule.add_noise(jt.array(z0), eps, timestep), timestep).x0.numpy()
                squared[i] += ((x0 - z0) ** 2).mean() * BATCH / IMAGES
    return squared.tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for the runs")
    parser.add_argument("--steps", type=int, default=500, help="of each training (default: 500)")
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES), help="default: all")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)

    rows, first = [], None
    for name in arguments.only:
        path = train(name, arguments.steps, arguments.out, first)
        first = first or path.parent
        rows.append([name, *(f"{error:.4f}" for error in errors(path))])
    cli.show(rows, "pilot", *(f"t = {timestep}" for timestep in TIMESTEPS))


if __name__ == "__main__":
    main()
