"""The row "DM, class start": no reference, and a start from what latents of each class are like at each height.

    python -m jiidm ablate --config demo --out ablation
    python -m benchmarks.quality.class_start --out ablation

The mean and standard deviation of training latents, by class and by eighth of the image's height, give each mask an
estimate of its latents. The first round starts from it, at its own start timestep and with the noise of the row I2I,
where that row starts from the reference's latents. So the difference to I2I is what the reference gives. The images go
to OUT/DM, class start; those that are there already are kept. The table compares them with the rows of `ablate`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common import jittor_side

NAME = "DM, class start"
BANDS = 8
SEED = 0


class Statistics(NamedTuple):
    """Mean and standard deviation of latents, each [classes,BANDS,C]."""

    mean: np.ndarray
    deviation: np.ndarray

    def at(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both for every pixel of a mask of class ids [h,w]: [C,h,w]."""
        bands = np.broadcast_to(bands_of(len(mask))[:, None], mask.shape)
        mean, deviation = (table[mask, bands].transpose(2, 0, 1) for table in self)
        return mean, deviation


def bands_of(height: int) -> np.ndarray:
    """The band of each row, int [height]."""
    return np.arange(height) * BANDS // height


def collect(pairs: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int) -> Statistics:
    """Statistics of latents [C,h,w] under masks [h,w]. Where a class has none in a band, those of all its pixels.

    A class that is absent altogether has those of all classes.
    """
    latents, masks = (np.stack(arrays) for arrays in zip(*pairs))
    pixels = latents.transpose(0, 2, 3, 1).reshape(-1, latents.shape[1]).astype(np.float64)
    bands = np.broadcast_to(bands_of(masks.shape[1])[None, :, None], masks.shape).ravel()
    classes = masks.ravel()

    def of(chosen: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        return np.stack([pixels[chosen].mean(0), pixels[chosen].std(0)]) if chosen.any() else otherwise

    everywhere = np.stack([pixels.mean(0), pixels.std(0)])
    tables = np.empty((2, num_classes, BANDS, latents.shape[1]))
    for label in range(num_classes):
        own = of(classes == label, everywhere)
        for band in range(BANDS):
            tables[:, label, band] = of((classes == label) & (bands == band), own)
    return Statistics(*tables)


def training_pairs(space, config, count: int) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Latents [C,h,w] of the training set's first landscapes, and their masks [h,w]."""
    from tqdm import tqdm

    from jiidm.data.images import resize_mask
    from jiidm.data.synthetic.dataset import landscape
    from ldm_jittor.pixels import to_model

    for number in tqdm(range(count), desc="latents", unit="image"):
        image, mask = landscape(number, config.data.size, seed=config.seed)
        yield space.encode(to_model([image])).numpy()[0], resize_mask(mask, config.latent_size)


def paint(model, config, name: str, mask: np.ndarray, statistics: Statistics) -> np.ndarray:
    """The image [H,W,3] of a mask [h,w], by the first round of a config, begun at latents of the statistics."""
    import jittor as jt

    from jiidm.classes import one_hot
    from jiidm.model.build import build_settings
    from jiidm.seeding import normal
    from ldm_jittor.denoiser import Denoiser
    from ldm_jittor.pixels import to_images
    from ldm_jittor.samplers import SAMPLERS

    first, segmap = config.inference.rounds[0], jt.array(one_hot(mask)[None])
    mean, deviation = statistics.at(mask)
    z0 = mean + deviation * normal(mean.shape, SEED, name, 0, NAME)
    eps = jt.array(normal(mean.shape, SEED, name, 0, "start")[None])
    timesteps = model.schedule.timesteps(first.start_timestep, first.num_steps, first.spacing)
    z = model.schedule.add_noise(jt.array(z0[None].astype(np.float32)), eps, timesteps[0])
    denoiser = Denoiser(model.unet, model.schedule, segmap, config.latent_size, **build_settings(first)._asdict())
    return to_images(model.space.decode(SAMPLERS[first.sampler](denoiser, z, timesteps)))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="demo", help="whose first round (default: demo)")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: the model that ships")
    parser.add_argument("--landscapes", type=int, default=400, metavar="N", help="of the training set (default: 400)")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="masks, as `ablate` had (default: 200)")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="the folder of `jiidm ablate`")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)
    import jittor as jt
    from tqdm import tqdm

    from jiidm.classes import NUM_CLASSES
    from jiidm.config import load as configs
    from jiidm.data.images import load_mask, resize_mask
    from jiidm.evaluate.score import Evaluators
    from jiidm.experiments import ablation, held_out
    from jiidm.experiments import trials as experiment
    from jiidm.inference.folder import OutputFolder
    from jiidm.model.files import SHIPPED, ModelFile
    from jiidm.report.tables import table

    file = ModelFile(arguments.checkpoint or SHIPPED)
    config = experiment.configure(file, configs.load_config(arguments.config))
    config = configs.with_rounds(config, config.inference.rounds[:1], NAME)
    jobs = held_out.lay_out(arguments.out, arguments.count, config.data.size, None)
    identity = experiment.identity_of(experiment.Trial(NAME, file, config), SEED)
    identity |= {"class_start": arguments.landscapes}
    folder, model = OutputFolder(arguments.out / NAME), file.load(config)
    folder.claim(identity, jobs)
    folder.write_manifest(identity, jobs, file.path, config)
    with jt.no_grad():
        pending = folder.pending(jobs)
        pairs = training_pairs(model.space, config, arguments.landscapes)
        statistics = collect(pairs, NUM_CLASSES) if pending else None
        for job in tqdm(pending, desc=NAME, unit="image"):
            mask = resize_mask(load_mask(job.mask, config.data.size), config.latent_size)
            image = paint(model, config, job.stem, mask, statistics)
            folder.write(job.stem, image, config.inference.jpeg_quality)

    evaluators = Evaluators.shipped()
    names = [name for name in (ablation.DM, NAME, ablation.I2I) if (arguments.out / name).is_dir()]
    real = arguments.out / held_out.FOLDER
    results = [experiment.score_trial(name, jobs, arguments.out, evaluators, real) for name in names]
    scores = ("M", "fd_seg", "S")
    print(table([(row.name, *map(row.cell, scores)) for row in results], ("method", *scores)))


if __name__ == "__main__":
    main()
