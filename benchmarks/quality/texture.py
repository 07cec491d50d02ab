"""How much texture generated images have, at every scale: of several models, and at several guidance scales.

    python -m benchmarks.quality.texture --out texture                                      the model that ships
    python -m benchmarks.quality.texture --out texture --checkpoint a.safetensors b.safetensors --guidance 1 1.5 2

Each row generates the same landscapes, which no model was trained on and no table shows, by the rounds of the config in
the model's file. The table has:

- M, S and fd_seg, as `jiidm score` gives them;
- fd_latent, the Frechet distance of latents, as `benchmarks.quality.bounds` gives it, in the shipped autoencoder's;
- the images' power against the photos', in dB, for waves of 2 to 4 pixels and so on: 0 is right, below it is blur,
  above it are brush strokes.

The row "autoencoder" is the photos, encoded and decoded: what no U-Net can better. A model is called by its run's
folder. OUT/crops.png has parts of the images, three times enlarged. Images that are there already are kept, so an
interrupted call goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import cli, jittor_side
from benchmarks.quality.bounds import SEED, encode

WAVES = (2, 4, 8, 16, 32)
SHOWN, CROP, ENLARGED = 6, 96, 3
AUTOENCODER = "autoencoder"


def band_power(image: np.ndarray) -> np.ndarray:
    """Power of an image, uint8 RGB [H,W,3], in each band between two of `WAVES` pixels: [4]."""
    grey = image.astype(np.float64).mean(axis=2)
    height, width = grey.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    bands = [(frequency > 1 / long) & (frequency <= 1 / short) for short, long in zip(WAVES, WAVES[1:])]
    return np.array([power[band].sum() for band in bands])


def mean_power(paths: Sequence[Path]) -> np.ndarray:
    from jiidm.data.images import load_image

    return np.mean([band_power(load_image(path)) for path in paths], axis=0)


def rebuild(space, photos: Sequence[Path], folder: Path) -> list[Path]:
    """The photos through an autoencoder."""
    import jittor as jt

    from jiidm.data.images import load_image, save_jpeg
    from ldm_jittor.pixels import to_images, to_model

    folder.mkdir(parents=True, exist_ok=True)
    copies = [folder / f"{photo.stem}.jpg" for photo in photos]
    with jt.no_grad():
        for photo, copy in zip(photos, copies):
            save_jpeg(copy, to_images(space.decode(space.encode(to_model([load_image(photo)]))))[0], 95)
    return copies


def draw(path: Path, columns: Mapping[str, Sequence[Path]]) -> None:
    """The middle of the lower half of each image, where crowns, rock and meadows are, enlarged."""
    import cv2

    from jiidm.data.images import load_image
    from jiidm.report.sheets import contact_sheet

    def crop(image: np.ndarray) -> np.ndarray:
        top, left = image.shape[0] - CROP - 8, (image.shape[1] - CROP) // 2
        part = image[top : top + CROP, left : left + CROP]
        return cv2.resize(part, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)

    count = len(next(iter(columns.values())))
    chosen = range(0, count, max(1, count // SHOWN))
    tiles = [[crop(load_image(images[i])) for images in columns.values()] for i in chosen]
    contact_sheet(tiles, path, list(columns), ["" for _ in chosen])


def main() -> None:
    parser = cli.experiment_parser(__doc__, count=48)
    parser.add_argument("--checkpoint", type=Path, nargs="*", metavar="FILE", help="default: the model that ships")
    parser.add_argument("--guidance", type=float, nargs="*", metavar="SCALE", help="default: the config's own")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)

    from jiidm.config import load as configs
    from jiidm.data.pairs import find_pairs
    from jiidm.data.synthetic.dataset import write_dataset
    from jiidm.evaluate import metrics
    from jiidm.evaluate.score import Evaluators
    from jiidm.experiments import held_out, trials
    from jiidm.model.files import SHIPPED, ModelFile, load_model
    from jiidm.report.tables import table

    files = [ModelFile(path) for path in arguments.checkpoint or [SHIPPED]]
    given = configs.load_config(arguments.config)
    size = given.data.size
    write_dataset(arguments.out / "landscapes", arguments.count, size, seed=SEED)
    jobs = held_out.lay_out(arguments.out, arguments.count, size, find_pairs(arguments.out / "landscapes"))

    def name_of(file: ModelFile) -> str:
        return "shipped" if file.path.resolve() == SHIPPED.resolve() else file.path.resolve().parent.name

    def trial(file: ModelFile, scale: float | None) -> trials.Trial:
        config = dataclasses.replace(file.config, inference=given.inference)
        if scale is not None:
            rounds = [dataclasses.replace(round_, guidance_scale=scale) for round_ in config.inference.rounds]
            config = configs.with_rounds(config, rounds, "texture")
        name = name_of(file)
        return trials.Trial(name if scale is None else f"{name}, guided {scale:g}", file, config)

    tried = [trial(file, scale) for file in files for scale in arguments.guidance or [None]]
    trials.generate(tried, jobs, arguments.out, seed=0)

    evaluators = Evaluators.shipped()
    shipped = load_model(SHIPPED)
    photos = [pair.image for pair in find_pairs(arguments.out / held_out.FOLDER)]
    reality, real_power = metrics.gaussian(encode(shipped, photos)[0]), mean_power(photos)

    def decibels(paths: Sequence[Path]) -> list[float]:
        return list(10 * np.log10(mean_power(paths) / real_power))

    columns, rows = {"photo": photos}, []
    for file in {trial.model.path: trial.model for trial in tried}.values():
        label = f"{AUTOENCODER} of {name_of(file)}"
        columns[label] = rebuild(file.load(file.config).space, photos, arguments.out / label)
        rows.append([label, "-", "-", "-", "-", *decibels(columns[label])])
    for each in tried:
        result = trials.score_trial(each.name, jobs, arguments.out, evaluators, arguments.out / held_out.FOLDER)
        columns[each.name] = images = [arguments.out / each.name / f"{job.stem}.jpg" for job in jobs]
        distance = metrics.frechet_distance(*metrics.gaussian(encode(shipped, images)[0]), *reality)
        scores = [result.scores[key] for key in ("M", "S", "fd_seg")]
        rows.append([each.name, *scores, distance, *decibels(images)])
    draw(arguments.out / "crops.png", columns)
    print(f"{len(jobs)} masks\n")
    waves = [f"{short}-{long} px" for short, long in zip(WAVES, WAVES[1:])]
    print(table(rows, ("images", "M", "S", "fd_seg", "fd_latent", *waves)))


if __name__ == "__main__":
    main()
