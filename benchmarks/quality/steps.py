"""How many steps a round needs: the distance of chains of few steps to the chain through every timestep.

    python -m benchmarks.quality.steps

Each round of a config starts from the same noised photos, with its start, guidance and bounds, under generated masks
that the shipped model was not trained on. The solution is DPM-Solver++(2M)'s chain through every timestep; DDIM's ends
0.1 % from it. The table has a row per start and number of steps. Latents: root mean square relative to the solution's.
Decoded images: mean absolute difference in grey levels, and PSNR. The picture is docs/img/steps.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common import jittor_side, sizes

STEPS = (10, 15, 20, 25, 50, 100, 320)
PICTURE = Path(__file__).parents[2] / "docs" / "img" / "steps.png"


class Chain(NamedTuple):
    name: str
    sampler: str
    spacing: str


CHAINS = (
    Chain("DDIM", "ddim", "trailing"),
    Chain("DPM-Solver++(2M)", "dpmpp_2m", "trailing"),
    Chain("DPM-Solver++(2M), even in log-SNR", "dpmpp_2m", "logsnr"),
)


class Distance(NamedTuple):
    latents: float
    """Root mean square of the difference over that of the solution."""
    grey: float
    """Mean absolute difference of the decoded images, of 255."""
    psnr: float

    def __str__(self) -> str:
        return f"{100 * self.latents:.2f} %, {self.grey:.2f}, {self.psnr:.1f} dB"


def image_distance(images: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Mean absolute difference in grey levels and PSNR in dB of uint8 arrays of one shape."""
    difference = images.astype(float) - others
    mean_square = (difference**2).mean()
    return float(np.abs(difference).mean()), math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


class Bench:
    """The shipped model with the rounds of a config, a batch of scenes, and what their chains have in common."""

    def __init__(self, name: str, overrides: Sequence[str], num_masks: int):
        import jittor as jt

        from jiidm.classes import one_hot
        from jiidm.config import load as configs
        from jiidm.data.images import resize_mask
        from jiidm.inference.inputs import DEMO_SEED
        from jiidm.model.files import SHIPPED, load_model
        from ldm_jittor.denoiser import Denoiser
        from ldm_jittor.pixels import to_model

        self.model = load_model(SHIPPED)
        inference = configs.load_config(name, overrides).inference
        config = dataclasses.replace(self.model.config, inference=inference)
        self.rounds = inference.rounds
        scenes = sizes.scenes(num_masks, config.data.size, DEMO_SEED)
        self.names = [scene.name for scene in scenes]
        segmap = jt.array(np.stack([one_hot(resize_mask(scene.mask, config.latent_size)) for scene in scenes]))
        self.denoiser = Denoiser(self.model.unet, self.model.schedule, segmap, config.latent_size)
        self.photos = self.model.space.encode(to_model([scene.reference for scene in scenes]))

    def measure(self, number: int, on_step: Callable[[], object]) -> dict[Chain, dict[int, Distance]]:
        """Distances of all chains of a round, by number of steps."""
        start = self.rounds[number].start_timestep
        solution = self._solve(number, "dpmpp_2m", range(start, -1, -1), on_step)
        image, size = self._decode(solution), np.sqrt((solution**2).mean())

        def distance(latents: np.ndarray) -> Distance:
            return Distance(
                float(np.sqrt(((latents - solution) ** 2).mean()) / size), *image_distance(self._decode(latents), image)
            )

        return {
            chain: {
                steps: distance(
                    self._solve(
                        number, chain.sampler, self.model.schedule.timesteps(start, steps, chain.spacing), on_step
                    )
                )
                for steps in STEPS
            }
            for chain in CHAINS
        }

    def num_steps(self) -> int:
        """Denoising steps of all chains together."""
        return sum(spec.start_timestep + 1 + len(CHAINS) * sum(STEPS) for spec in self.rounds)

    def _solve(self, number: int, sampler: str, timesteps: Sequence[int], on_step) -> np.ndarray:
        """Clean latents [B,C,h,w] at the end of a chain from the round's noised photos."""
        import jittor as jt

        from jiidm.model.build import build_settings
        from jiidm.seeding import normal
        from ldm_jittor.samplers import SAMPLERS

        noise = np.stack([normal(tuple(self.photos.shape[1:]), 0, name, number, "start") for name in self.names])
        z = self.model.schedule.add_noise(self.photos, jt.array(noise), timesteps[0])
        spec = self.rounds[number]
        denoiser = self.denoiser.with_settings(**build_settings(spec)._asdict())
        return SAMPLERS[sampler](denoiser, z, timesteps, callback=lambda *_: on_step()).numpy()

    def _decode(self, latents: np.ndarray) -> np.ndarray:
        import jittor as jt

        from ldm_jittor.pixels import to_images

        return to_images(self.model.space.decode(jt.array(latents)))


def draw(results: dict[str, dict[Chain, dict[int, Distance]]], path: Path) -> None:
    """A column per start: distance of latents above, of images below, against steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(results), 6.5), dpi=110, layout="constrained")
    axes = figure.subplots(2, len(results), sharex=True, sharey="row", squeeze=False)
    for column, (title, chains) in zip(axes.T, results.items()):
        column[0].set_title(title, fontsize=10)
        for axis, values in zip(column, ("latents", "grey")):
            for (chain, by_steps), style in zip(chains.items(), ("s-", "o-", "D-")):
                distances = [getattr(distance, values) or math.nan for distance in by_steps.values()]  # no log of 0
                axis.loglog(list(by_steps), distances, style, markersize=4, linewidth=1.4, label=chain.name)
            axis.grid(alpha=0.3)
        column[1].set_xlabel("steps")
        column[1].set_xticks(STEPS, labels=map(str, STEPS), fontsize=8)
        column[1].minorticks_off()
    axes[0, 0].set_ylabel("latents: relative RMS distance")
    axes[1, 0].set_ylabel("images: mean difference, grey levels")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="demo", help="whose rounds (default: demo)")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override a setting of it")
    parser.add_argument("--masks", type=int, default=4, help="generated masks, one batch (default: 4)")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE", help="default: docs/img/steps.png")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)
    import jittor as jt
    from tqdm import tqdm

    from jiidm.report.tables import table

    with jt.no_grad():
        bench = Bench(arguments.config, arguments.set, arguments.masks)
        results = {}
        with tqdm(total=bench.num_steps(), unit="step") as progress:
            for number, spec in enumerate(bench.rounds):
                title = f"from timestep {spec.start_timestep}, guidance {spec.guidance_scale:g}"
                results[title] = bench.measure(number, progress.update)
    rows = [
        (title, steps, *(chains[chain][steps] for chain in CHAINS))
        for title, chains in results.items()
        for steps in STEPS
    ]
    print(table(rows, ("chain", "steps", *(chain.name for chain in CHAINS))))
    draw(results, arguments.picture)


if __name__ == "__main__":
    main()
