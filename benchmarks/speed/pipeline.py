"""The whole pipeline against PyTorch: the shipped model, from masks and photos to images, all rounds of a config.

    python -m benchmarks.speed.pipeline --config demo --count 20

PyTorch's side does what published code does: colour transfer, encoding, noising, guided steps of diffusers' scheduler,
decoding. It computes everything that depends on the mask again in each step. Both sides draw the same noise, so their
images are the same: 99 % of the values have to agree within 3 grey levels. The others may not, because each round
rounds to 8 bits and to codes, where float noise now and then picks the neighbour. The fast profile is `--fast` of
`jiidm infer`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np

from benchmarks.common import cli, jittor_side, sizes
from benchmarks.common.duel import Contestant, Work, ours, torchs

PROFILES = ("default", "fast")


def worker(config_name: str, profile: str, count: int, device: str) -> Work:
    jittor_side.start(device)
    from jiidm.model.files import SHIPPED, load_model
    from jiidm.pipeline import Pipeline

    model = load_model(SHIPPED)
    config = dataclasses.replace(model.config, inference=sizes.inference(config_name, profile))
    pipeline = Pipeline(model._replace(config=config))
    scenes = sizes.scenes(count, config.data.size)

    def work():
        return {"images": np.stack([result.image for result in pipeline.stream(scenes, seed=0)])}

    return work


def timesteps(config_name: str, profile: str) -> list[list[int]]:
    """The timesteps of every round, for the other side, which has no NoiseSchedule."""
    jittor_side.start("cpu")
    from jiidm.config import load as configs
    from jiidm.model.build import build_schedule

    schedule = build_schedule(configs.load_config(config_name).schedule)
    rounds = sizes.inference(config_name, profile).rounds
    return [schedule.timesteps(spec.start_timestep, spec.num_steps, spec.spacing) for spec in rounds]


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--config", nargs="+", default=["demo"], metavar="NAME")
    parser.add_argument("--profile", nargs="+", choices=PROFILES, default=PROFILES)
    parser.add_argument("--count", type=int, default=20, help="images")
    arguments = parser.parse_args()
    if arguments.worker:
        work = worker(arguments.config[0], arguments.profile[0], arguments.count, arguments.device)
        jittor_side.serve(work, arguments.worker)
        return
    rows = []
    for name, profile in itertools.product(arguments.config, arguments.profile):
        options = ["--config", name, "--profile", profile]
        options += ["--count", str(arguments.count), "--device", arguments.device]
        steps = json.dumps(timesteps(name, profile))
        contestants = [
            Contestant("this kit", ours(__spec__.name, *options)),
            Contestant("PyTorch", torchs("pipeline", *options, "--timesteps", steps)),
        ]
        rows += cli.compare(f"{name}, {profile}", contestants, arguments, tolerance=3 / 255, share=0.99)
    for row in rows:
        row.insert(2, 60 * arguments.count / row[2])
    cli.show(rows, "config, profile", "pipeline", "images per minute", "seconds", "times ours", "peak GiB")


if __name__ == "__main__":
    main()
