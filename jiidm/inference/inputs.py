"""The inputs of inference: masks with their references, all checked, or generated ones."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from jiidm.data.identity import require_unchanged, sha256
from jiidm.data.images import load_image, load_mask, warn_of_palettes
from jiidm.data.references import find_masks, load_references, next_of_each, own_mask, write_references
from jiidm.data.synthetic.dataset import write_dataset
from jiidm.size import Size

logger = logging.getLogger(__name__)

DEMO_IMAGES = 8
DEMO_SEED = 2024
"""No training run has this seed: no model was trained on the demo's masks."""


@dataclass(frozen=True)
class Job:
    """One image to make, for a mask of `size`."""

    mask: Path
    reference: Path
    size: Size
    made_from: tuple[str, ...]
    """The SHA-256 of the mask's and of the reference's file. Where the reference's own mask matters, also that file's,
    or which segmenter predicts it."""
    reference_mask: Path | None = None

    @property
    def stem(self) -> str:
        return self.mask.stem

    def check_unchanged(self) -> None:
        """Raises InputError where the files are no longer those of `made_from`."""
        own = [] if self.reference_mask is None else [self.reference_mask]
        for path, before in zip((self.mask, self.reference, *own), self.made_from):
            require_unchanged(path, before)


def check_inputs(masks: Path, references: Path, data_root: Path | None) -> list[Job]:
    """Pair masks with references and decode every file once. Raises InputError for the first that is wrong."""
    paths = find_masks(masks)
    images = load_references(references, paths, data_root)
    warn_of_palettes(paths)
    hash_once = functools.cache(sha256)  # many masks may share a reference
    jobs = []
    for path in tqdm(paths, desc="checking masks and references", delay=2):
        size = Size(*load_mask(path).shape)
        load_image(images[path.stem])
        made_from = sha256(path), hash_once(images[path.stem])
        jobs.append(Job(path, images[path.stem], size, made_from))
    return jobs


def with_reference_masks(jobs: Sequence[Job], segmenter: str) -> list[Job]:
    """The jobs of a model to which the references' own masks matter: labels/<stem>.png beside the imgs/ of each.

    segmenter: the SHA-256 of the one that predicts the others. Raises InputError for the first such file that is no
    mask. It says how many have none.
    """

    @functools.cache  # many masks may share a reference
    def checked(mask: Path) -> str:
        load_mask(mask)
        return sha256(mask)

    found = []
    for job in jobs:
        mask = own_mask(job.reference)
        third = f"segmenter {segmenter}" if mask is None else checked(mask)
        found.append(replace(job, reference_mask=mask, made_from=(*job.made_from, third)))
    if without := sum(job.reference_mask is None for job in found):
        logger.info("%d of %d references have no mask in labels/: the segmenter predicts theirs", without, len(found))
    return found


def write_demo_inputs(run_folder: Path, size: Size) -> tuple[Path, Path]:
    """Generate masks and photos of `size` in a folder within `run_folder`, and a references JSON.

    The JSON gives each mask another one's photo. Returns the masks' folder and the JSON.
    """
    folder = run_folder / f"inputs_{size}"
    write_dataset(folder, DEMO_IMAGES, size, seed=DEMO_SEED)
    masks = find_masks(folder / "labels")
    path = folder / "references.json"
    write_references(path, {mask.name: f"{other.stem}.jpg" for mask, other in next_of_each(masks).items()})
    return folder / "labels", path
