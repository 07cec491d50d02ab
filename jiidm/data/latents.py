"""The training cache: every image encoded once, as it is and flipped, beside its mask at the latents' size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import jittor as jt
import numpy as np

from jiidm.data.images import load_image, load_mask, resize_mask
from jiidm.data.pairs import Pair
from jiidm.system.progress import StepBar
from ldm_jittor.autoencoder import VQModel
from ldm_jittor.files import atomic_path
from ldm_jittor.pixels import to_model

IMAGES_PER_BATCH = 4


def encode_dataset(
    autoencoder: VQModel,
    pairs: Sequence[Pair],
    folder: str | os.PathLike,
    size: tuple[int, int],
    downsample: int,
) -> None:
    """Write `folder`/<stem>.npz for every pair that has none yet, so that an interrupted call goes on.

    Each holds `latents` float32 [2,C,h,w], unscaled, and `masks` uint8 [2,h,w]. The second of the two is flipped left
    to right. Masks shrink by nearest neighbour, as the U-Net itself would shrink them.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [pair for pair in pairs if not (folder / f"{pair.stem}.npz").exists()]
    latent_size = (size[0] // downsample, size[1] // downsample)
    with StepBar(total=len(missing), desc="encoding latents", unit="image", disable=not missing) as progress:
        for start in range(0, len(missing), IMAGES_PER_BATCH):
            batch = missing[start : start + IMAGES_PER_BATCH]
            images = [load_image(pair.image, size) for pair in batch]
            with jt.no_grad():
                encoded = autoencoder.encode(to_model(images + [image[:, ::-1] for image in images])).numpy()
            for pair, plain, flipped in zip(batch, encoded, encoded[len(batch) :]):
                # flipped before it shrinks: the nearest neighbour of a flipped mask is not the flipped neighbour
                mask = load_mask(pair.label, size)
                masks = np.stack([resize_mask(m, latent_size) for m in (mask, mask[:, ::-1])])
                with atomic_path(folder / f"{pair.stem}.npz") as path:
                    np.savez(path, latents=np.stack([plain, flipped]), masks=masks)
            progress.update(len(batch))


class LatentDataset:
    """Cached latents and masks by position: `dataset[i, flip]` -> (latent float32 [C,h,w], mask uint8 [h,w])."""

    def __init__(self, folder: str | os.PathLike, stems: Sequence[str], scale: float):
        self.paths = [Path(folder) / f"{stem}.npz" for stem in stems]
        self.scale = scale

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        index, flip = key
        with np.load(self.paths[index]) as arrays:
            return arrays["latents"][flip] * np.float32(self.scale), arrays["masks"][flip]
