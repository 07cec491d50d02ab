"""The training cache: every image encoded once, as it is and flipped, beside its mask at the latents' size."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import jittor as jt
import numpy as np
from tqdm import tqdm

from jiidm.data.folders import require_distinct
from jiidm.data.identity import claim, require_unchanged
from jiidm.data.images import load_image, load_mask, resize_mask
from jiidm.data.pairs import Pair
from jiidm.errors import InputError
from jiidm.size import Size
from jiidm.system.progress import StepBar
from jiidm.system.shards import WHOLE, Shard
from jiidm.system.threads import follow_load
from ldm_jittor.autoencoder import VQModel
from ldm_jittor.files import load_npz, save_npz
from ldm_jittor.pixels import to_model

logger = logging.getLogger(__name__)

IMAGES_PER_BATCH = 4
RECORD = "latents.json"


def encode_dataset(
    autoencoder: VQModel,
    weights: str,
    pairs: Sequence[Pair],
    hashes: Mapping[Path, str],
    folder: str | os.PathLike,
    size: Size,
    downsample: int,
    shard: Shard = WHOLE,
) -> None:
    """Write `folder`/<stem>.npz for every pair of the shard that has none yet, so that an interrupted call goes on.

    Each holds `latents` float32 [2,C,h,w], unscaled, and `masks` uint8 [2,h,w]. The second of the two is flipped left
    to right. Masks shrink by nearest neighbour, as the U-Net itself would shrink them. `made_from` holds the hashes of
    photo and mask. A file without these hashes, of others or damaged is encoded again.

    weights: the SHA-256 of the autoencoder's file. hashes: those of the pairs' files. Batches are cut from all pairs,
    so that latents do not depend on which are missing; a shard takes whole batches. Raises InputError where the folder
    holds latents of another autoencoder or size, and for a file that changes meanwhile.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    require_distinct(folder, (pair.stem for pair in pairs))
    made_by = {"autoencoder": weights, "size": list(size[::-1]), "downsample": downsample}
    claim(folder / RECORD, made_by, "choose another folder for these latents")
    made_from = {pair.stem: [hashes[pair.image], hashes[pair.label]] for pair in pairs}
    batches = shard.of([pairs[start : start + IMAGES_PER_BATCH] for start in range(0, len(pairs), IMAGES_PER_BATCH)])
    missing = _missing(folder, {pair.stem: made_from[pair.stem] for batch in batches for pair in batch})
    latent_size = Size(size.height // downsample, size.width // downsample)
    with StepBar(total=len(missing), desc="encoding latents", unit="image", disable=not missing) as progress:
        for batch in batches:
            wanted = missing.intersection(pair.stem for pair in batch)
            if not wanted:
                continue
            follow_load()
            images = [load_image(pair.image, size) for pair in batch]
            with jt.no_grad():
                encoded = autoencoder.encode(to_model(images + [image[:, ::-1] for image in images])).numpy()
            for pair, plain, flipped in zip(batch, encoded, encoded[len(batch) :]):
                if pair.stem not in wanted:
                    continue
                # flipped before it shrinks: the nearest neighbour of a flipped mask is not the flipped neighbour
                mask = load_mask(pair.label, size)
                masks = np.stack([resize_mask(m, latent_size) for m in (mask, mask[:, ::-1])])
                require_unchanged(pair.image, hashes[pair.image])  # they were read after they were hashed
                require_unchanged(pair.label, hashes[pair.label])
                latents, origin = np.stack([plain, flipped]), np.array(made_from[pair.stem])
                save_npz(folder / f"{pair.stem}.npz", latents=latents, masks=masks, made_from=origin)
            progress.update(len(wanted))


def _missing(folder: Path, made_from: Mapping[str, list[str]]) -> set[str]:
    """The stems that have no file made from these hashes. It tells how many of them have a file of others."""
    stored = {stem: folder / f"{stem}.npz" for stem in made_from}
    missing = {
        stem
        for stem, path in tqdm(stored.items(), desc="looking for latents", delay=2)
        if _recorded(path) != made_from[stem]
    }
    if outdated := sorted(stem for stem in missing if stored[stem].exists()):
        told = f"{len(outdated)} files that are damaged or of another photo or mask, the first {outdated[0]}.npz"
        logger.info("%s holds %s: encoding them again", folder, told)
    return missing


def _recorded(path: Path) -> list[str] | None:
    """What a file was made from; None where there is none, a damaged one or one that does not say so."""
    try:
        arrays = load_npz(path)
    except (OSError, ValueError):
        return None
    return arrays["made_from"].tolist() if {"latents", "masks", "made_from"} <= arrays.keys() else None


class LatentDataset:
    """Cached latents and masks by position: `dataset[i, flip]` -> (latent float32 [C,h,w], mask uint8 [h,w])."""

    def __init__(self, folder: str | os.PathLike, stems: Sequence[str], scale: float):
        self.paths = [Path(folder) / f"{stem}.npz" for stem in stems]
        self.scale = scale

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        index, flip = key
        try:
            arrays = load_npz(self.paths[index])
        except ValueError as error:
            raise InputError(f"{self.paths[index]}: {error}; the same command encodes it again") from None
        return arrays["latents"][flip] * np.float32(self.scale), arrays["masks"][flip]
