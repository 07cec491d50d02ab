"""Masks and references for experiments, which the model was not trained on: OUT/data, an ordinary data folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from jiidm.data.identity import claim, require_same, sha256
from jiidm.data.images import load_image, load_mask
from jiidm.data.pairs import IMAGE_FOLDER, LABEL_FOLDER, Pair, find_pairs, make_data_folders, read_split
from jiidm.data.references import next_of_each, write_references
from jiidm.data.synthetic.dataset import write_dataset
from jiidm.errors import InputError
from jiidm.inference.inputs import DEMO_SEED, Job, check_inputs
from jiidm.size import Size
from ldm_jittor.files import atomic_path

FOLDER = "data"
SELECTED = (
    "The masks are the run's own validation pairs, by which its checkpoints may have been chosen: not quite unseen."
)


def run_pairs(run: Path, provenance: dict) -> list[Pair] | None:
    """The validation pairs of a training run on a user's photos, or None for a run on generated landscapes.

    Landscapes are generated afresh, so that no checkpoint was chosen by them. Raises InputError where the photos are
    gone.
    """
    if (run / "data").is_dir():
        return None
    return read_split(run / "split", find_pairs(provenance.get("data", run / "data")))[1]


def lay_out(out: Path, count: int, size: Size, pairs: Sequence[Pair] | None) -> list[Job]:
    """Fill `out`/data with `count` pairs, spread evenly over `pairs`, or without any with landscapes of `size`.

    Each mask gets the next one's photo as reference, the last the first's (`out`/data/references.json).

    Raises InputError for fewer than two pairs, a damaged one, masks of unequal sizes, and an `out` that holds others.
    """
    if pairs is not None:
        count = min(count, len(pairs))
        pairs = [pairs[i * len(pairs) // count] for i in range(count)]
    if count < 2:
        raise InputError(f"{count} masks: an experiment needs 2 or more, since each gets another's photo as reference")
    folder = out / FOLDER
    if pairs is None:
        _claim(folder, {"count": count, "pairs": f"generated, seed {DEMO_SEED}, {size}"})
        write_dataset(folder, count, size, seed=DEMO_SEED)
    else:
        _check(pairs)
        stems = hashlib.sha256(json.dumps([pair.stem for pair in pairs]).encode()).hexdigest()[:16]
        _claim(folder, {"count": count, "pairs": str(pairs[0].image.parent.parent), "stems": stems})
        _copy(pairs, folder)
    found = find_pairs(folder)
    path = folder / "references.json"
    write_references(path, {pair.label.name: other.image.name for pair, other in next_of_each(found).items()})
    return check_inputs(folder / LABEL_FOLDER, path, None)


def _check(pairs: Sequence[Pair]) -> None:
    """Raises InputError for a damaged file, and for masks of unequal sizes."""
    sizes = {}
    for pair in tqdm(pairs, desc="checking", unit="pair", delay=2):
        load_image(pair.image)
        sizes[load_mask(pair.label).shape] = pair.label
    if len(sizes) > 1:
        raise InputError(f"{' and '.join(map(str, list(sizes.values())[:2]))} are of unequal sizes")


def _claim(folder: Path, origin: dict) -> None:
    """Record where the pairs come from, or see that those there come from the same place."""
    make_data_folders(folder)
    claim(folder / "origin.json", origin, "choose another --out")


def _copy(pairs: Sequence[Pair], folder: Path) -> None:
    """Raises InputError for a copy of other content than its source."""
    for pair in pairs:
        for source, name in ((pair.image, IMAGE_FOLDER), (pair.label, LABEL_FOLDER)):
            target = folder / name / source.name
            if not target.exists():
                with atomic_path(target) as temporary:
                    shutil.copyfile(source, temporary)
            require_same(target, {source.name: sha256(target)}, {source.name: sha256(source)}, "choose another --out")
