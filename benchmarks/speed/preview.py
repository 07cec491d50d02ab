"""Which quick image the painter shows first: fewer steps, a lower resolution or a linear map from latents to colours.

    taskset -c 0,1 python -m benchmarks.speed.preview

The shipped model generates one image a mask, as the painter does, under generated masks that it was not trained on. The
table has a row per preview: the seconds that it takes, the median over the masks, and how far it is from the result
that follows, as the mean absolute difference in grey levels and PSNR. The last row is that result.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.common import jittor_side, sizes
from benchmarks.quality.steps import image_distance

STEPS = (2, 4, 6, 8, 12)
ALL_ROUNDS = ((2, 1, 1), (3, 2, 1), (4, 2, 2), (4, 3, 2), (8, 5, 4))
FITTED = 16
"""Photos that the linear map is fitted to."""


class LinearSpace:
    """Latents are decoded by one matrix, pixel by pixel, and enlarged."""

    def __init__(self, space, photos: np.ndarray):
        """photos: uint8 RGB [N,H,W,3]; the matrix is the least squares from their latents to their colours."""
        import jittor as jt

        from ldm_jittor.pixels import to_model

        self.space, self.encode = space, space.encode
        x = to_model(photos)
        z = space.encode(x).numpy()
        self.factor = x.shape[2] // z.shape[2]
        small = jt.nn.pool(x, self.factor, "mean", stride=self.factor).numpy()
        latents = np.concatenate([z, np.ones_like(z[:, :1])], axis=1).transpose(0, 2, 3, 1).reshape(-1, z.shape[1] + 1)
        solution = np.linalg.lstsq(latents, small.transpose(0, 2, 3, 1).reshape(-1, 3), rcond=None)[0]
        self.matrix, self.offset = jt.array(solution[:-1].T), jt.array(solution[-1])

    def decode(self, z):
        import jittor as jt

        batch, channels, height, width = z.shape
        colors = jt.matmul(self.matrix, z.reshape(batch, channels, -1)) + self.offset.reshape(1, 3, 1)
        size = (height * self.factor, width * self.factor)
        return jt.nn.interpolate(colors.reshape(batch, 3, height, width), size, mode="bilinear")


def previews(model) -> dict[str, tuple]:
    """A model and the rounds to run it with, by what is done."""
    from jiidm.data.synthetic.dataset import landscape

    config = model.config
    size = config.data.size
    photos = np.stack([landscape(1000 + number, size)[0] for number in range(FITTED)])
    half = dataclasses.replace(config, data=dataclasses.replace(config.data, size=type(size)(*(n // 2 for n in size))))

    def rounds(*steps: int) -> tuple:
        taken = zip(config.inference.rounds, steps)
        return tuple(dataclasses.replace(r, num_steps=n, sampler="dpmpp_2m", spacing="logsnr") for r, n in taken)

    whole = {f"{steps} steps of the first round": (model, rounds(steps)) for steps in STEPS}
    low = {f"{steps} steps at half the size": (model._replace(config=half), rounds(steps)) for steps in STEPS[:4]}
    linear = model._replace(space=LinearSpace(model.space, photos))
    mapped = {f"{steps} steps, linear map": (linear, rounds(steps)) for steps in STEPS[:4]}
    plain = tuple(dataclasses.replace(round_, guidance_scale=1.0) for round_ in rounds(8))
    few = {f"{'+'.join(map(str, steps))} steps of all rounds": (model, rounds(*steps)) for steps in ALL_ROUNDS}
    return whole | few | low | mapped | {"8 steps without guidance": (model, plain)}


def measure(models: dict[str, tuple], scenes: Sequence[sizes.Scene], on_image: Callable[[], object]) -> list[list]:
    from jiidm.data.images import resize_image
    from jiidm.pipeline import Input, Pipeline

    size = next(iter(models.values()))[0].config.data.size

    def images(model, rounds) -> tuple[np.ndarray, float]:
        found, seconds = [], []
        for scene in scenes:
            start = time.perf_counter()
            [result] = Pipeline(model).stream([Input(scene.name, scene.mask, scene.reference)], seed=0, rounds=rounds)
            seconds.append(time.perf_counter() - start)
            found.append(resize_image(result.image, size))
            on_image()
        return np.stack(found), statistics.median(seconds[1:])  # the first one compiles

    model = next(iter(models.values()))[0]
    full, full_seconds = images(model, model.config.inference.rounds)
    rows = []
    for name, given in models.items():
        found, seconds = images(*given)
        rows.append([name, seconds, *image_distance(found, full)])
    return [*rows, ["the result: all rounds", full_seconds, 0.0, float("inf")]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=8, metavar="N")
    arguments = parser.parse_args()
    jittor_side.start("cpu")
    from jiidm.inference.inputs import DEMO_SEED
    from jiidm.model.files import SHIPPED, load_model
    from jiidm.report.tables import table
    from jiidm.system.progress import StepBar

    model = load_model(SHIPPED)
    models = previews(model)
    scenes = sizes.scenes(arguments.masks, model.config.data.size, DEMO_SEED)
    with StepBar(total=(len(models) + 1) * len(scenes), desc="previews", unit="image") as progress:
        rows = measure(models, scenes, progress.update)
    print(table(rows, ("preview", "s", "grey levels", "PSNR")))


if __name__ == "__main__":
    main()
