"""What `--fast` saves and costs: the rounds of a config through every timestep, as configured, and fast.

    python -m benchmarks.quality.fast --config demo iidm

The shipped model gets generated masks that it was not trained on, by the rounds of each config. The table has images
per minute, and two distances of the images (mean absolute difference in grey levels, PSNR): from the solution, which
takes every timestep, and from the rounds as configured.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np

from benchmarks.common import jittor_side, sizes
from benchmarks.quality.steps import image_distance


def variants(config, fast_steps: list[int] | None) -> dict:
    """Configs of the same starts by name. The solution comes first, so that compiling counts in its time."""
    from jiidm.config import load as configs

    every = tuple(
        dataclasses.replace(spec, sampler="dpmpp_2m", num_steps=spec.start_timestep + 1)
        for spec in config.inference.rounds
    )
    found = {
        "every timestep": dataclasses.replace(config, inference=dataclasses.replace(config.inference, rounds=every)),
        "as configured": config,
    }
    for steps in fast_steps or [config.inference.fast_steps]:
        changed = configs.override(config, [f"inference.fast_steps={steps}"])
        found[f"--fast, fast_steps {steps}"] = configs.fast(changed)
    return found


def paint(model, config, count: int, title: str) -> tuple[np.ndarray, float]:
    """All images, uint8 [count,H,W,3], and the seconds they took."""
    from tqdm import tqdm

    from jiidm.inference.inputs import DEMO_SEED
    from jiidm.pipeline import Pipeline

    pipeline = Pipeline(model._replace(config=config))
    scenes = sizes.scenes(count, config.data.size, DEMO_SEED)
    with tqdm(total=pipeline.num_passes(scenes), desc=title, unit="pass") as progress:
        start = time.perf_counter()
        images = [result.image for result in pipeline.stream(scenes, seed=0, on_step=progress.update)]
    return np.stack(images), time.perf_counter() - start


def num_steps(config) -> int:
    return sum(spec.num_steps for spec in config.inference.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=["demo"], metavar="NAME")
    parser.add_argument("--count", type=int, default=20, help="images (default: 20)")
    parser.add_argument("--fast-steps", nargs="+", type=int, metavar="N", help="to compare (default: the config's)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)
    from jiidm.config import load as configs
    from jiidm.model.files import SHIPPED, load_model
    from jiidm.report.tables import table

    model, rows = load_model(SHIPPED), []
    for name in arguments.config:
        config = dataclasses.replace(model.config, inference=configs.load_config(name).inference)
        painted = []
        for variant, chosen in variants(config, arguments.fast_steps).items():
            images, seconds = paint(model, chosen, arguments.count, f"{name}, {variant}")
            painted.append(images)
            distances = [image_distance(images, others) for others in painted[:2]]
            shown = ["{:.2f}, {:.1f} dB".format(*distance) for distance in distances]
            rows.append((name, variant, num_steps(chosen), 60 * arguments.count / seconds, *(shown + [""])[:2]))
    print(table(rows, ("config", "rounds", "steps", "images per minute", "from every timestep", "from configured")))


if __name__ == "__main__":
    main()
