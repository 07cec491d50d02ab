"""What a model's autoencoder alone loses, before any diffusion.

    python -m benchmarks.quality.reconstruction [--images FOLDER ...] [--picture FILE]

The table has the mean PSNR in dB at the model's size: over generated landscapes that the shipped model was not trained
on, and over the photos of each folder. Beside it stands a thumbnail of the latent's width and height, enlarged again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common import jittor_side

SHOWN = 4


def thumbnail(image: np.ndarray, factor: int) -> np.ndarray:
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def mean_psnr(images: list[np.ndarray], copies: list[np.ndarray]) -> float:
    return float(np.mean([cv2.PSNR(image, copy) for image, copy in zip(images, copies)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a model, or autoencoder.safetensors of a run (default: the model that ships)",
    )
    parser.add_argument("--count", type=int, default=50, help="generated landscapes (default: 50)")
    parser.add_argument(
        "--images", type=Path, nargs="*", default=[], metavar="FOLDER", help="folders of photos; all are taken"
    )
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="draw the first four of each beside their reconstructions"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)
    import jittor as jt
    from tqdm import tqdm

    from jiidm.data.images import load_image
    from jiidm.data.synthetic.dataset import landscape
    from jiidm.evaluate.statistics import find_photos
    from jiidm.inference.inputs import DEMO_SEED
    from jiidm.model.files import SHIPPED, ModelFile
    from jiidm.report.sheets import contact_sheet
    from jiidm.report.tables import table
    from ldm_jittor.autoencoder import LatentSpace
    from ldm_jittor.pixels import to_images, to_model

    file = ModelFile(arguments.checkpoint or SHIPPED)
    size, autoencoder = file.config.data.size, file.config.autoencoder
    space = LatentSpace(file.load_autoencoder(autoencoder), autoencoder.latent_scale)
    sets = {"generated": [landscape(number, size, seed=DEMO_SEED)[0] for number in range(arguments.count)]}
    for folder in arguments.images:
        sets[str(folder)] = [load_image(photo, size) for photo in find_photos(folder)]
    rows, sheet = [], []
    for name, images in sets.items():
        with jt.no_grad():
            latents = (space.encode(to_model([image])) for image in tqdm(images, desc=name, unit="image"))
            copies = [to_images(space.decode(z))[0] for z in latents]
        thumbnails = [thumbnail(image, autoencoder.downsample) for image in images]
        rows.append([name, len(images), mean_psnr(images, copies), mean_psnr(images, thumbnails)])
        sheet += [(name, pair) for pair in list(zip(images, copies))[:SHOWN]]
    print(table(rows, ("images", "count", "PSNR, dB", "enlarged thumbnail, dB")))
    if arguments.picture:
        labels, tiles = zip(*sheet)
        contact_sheet(tiles, arguments.picture, ["image", "reconstruction"], labels)


if __name__ == "__main__":
    main()
