"""One training step against PyTorch: loss, backward pass, AdamW and the average of the weights.

    python -m benchmarks.speed.train_step --size demo mid

Before anything is timed, two things of the second step are compared: the loss, and Adam's first moments of some
parameters, which are their mean gradients. "at rest" is the memory of parameters, moments and averages. "on top" is
what a step needs besides: activations, and one copy of all gradients. "activations" is what twice the samples add to
that, because activations alone grow with the batch.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence

import numpy as np

from benchmarks.common import cli, jittor_side, sizes
from benchmarks.common.duel import Contestant, Work, duel, ours, torchs


def worker(size: str, batch: int, device: str, checkpointed: bool) -> Work:
    jittor_side.start(device)
    import jittor as jt

    from jiidm.train.optimizer import Optimizer
    from ldm_jittor.ema import EMA
    from ldm_jittor.losses import diffusion_loss
    from ldm_jittor.schedules import NoiseSchedule
    from ldm_jittor.unet import UNet

    unet, schedule = jittor_side.load_random(UNet(**sizes.unet_arguments(size))), NoiseSchedule.linear()
    unet.gradient_checkpointing = checkpointed
    optimizer, ema, step = Optimizer(unet, lambda _: sizes.LEARNING_RATE), EMA(unet, decay=0.9999), itertools.count()
    z0, eps = jt.array(sizes.latents(size, batch)), jt.array(sizes.latents(size, batch, seed=2))
    segmap, timesteps = jt.array(sizes.segmaps(size, batch)), sizes.timesteps(batch)

    def loss_of_a_batch():
        z = schedule.add_noise(z0, eps, timesteps)
        output = unet(z, jt.array(timesteps.astype(np.float32)), segmap)
        return diffusion_loss(output, z0, z, eps, timesteps, schedule).total

    def work():
        loss = loss_of_a_batch()
        optimizer.backward(loss)
        value = loss.item()
        if not math.isfinite(value + optimizer.gradient_norm()):  # as the training loop does before each update
            raise FloatingPointError(value)
        optimizer.step(next(step))
        ema.update()
        jt.sync_all(True)
        moments = optimizer.moments["first_moment"]
        return {"loss": np.array(value), **{name: moments[name].numpy() for name in sizes.GRADIENTS}}

    return work


def contestants(size: str, batch: int, device: str) -> Sequence[Contestant]:
    options = ["--size", size, "--batch", str(batch), "--device", device]
    return [
        Contestant("this kit", ours(__spec__.name, *options)),
        Contestant("this kit, checkpointed", ours(__spec__.name, *options, "--checkpointed")),
        Contestant("PyTorch", torchs("train_step", *options)),
    ]


def main() -> None:
    parser = cli.sized_parser(__doc__, batch=4)
    parser.add_argument("--checkpointed", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work = worker(arguments.size[0], arguments.batch, arguments.device, arguments.checkpointed)
        jittor_side.serve(work, arguments.worker)
        return
    rows = []
    for size in arguments.size:
        batch, device = arguments.batch, arguments.device
        for row, doubled in zip(
            cli.compare(size, contestants(size, batch, device), arguments, ["resident", "on_top"]),
            duel(contestants(size, 2 * batch, device), turns=1),
        ):
            rows.append([*row, doubled.on_top - row[-1] if device == "cpu" else "-"])
    header = ("size", "training step", "seconds", "times ours", "at rest GiB", "on top GiB", "activations GiB")
    cli.show(rows, *header)


if __name__ == "__main__":
    main()
