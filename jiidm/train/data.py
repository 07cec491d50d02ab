"""The data of a training run: given or generated, checked, split, and known again by their content."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from jiidm.config.schema import Config
from jiidm.data.folders import same_name
from jiidm.data.identity import claim, hash_files
from jiidm.data.pairs import (
    VALIDATION_REFERENCES,
    Pair,
    files_of,
    find_pairs,
    read_split,
    split,
    survey,
    write_split,
)
from jiidm.data.synthetic.dataset import write_dataset
from jiidm.errors import InputError
from jiidm.inference.inputs import DEMO_SEED
from jiidm.size import Size

logger = logging.getLogger(__name__)

HASHES_FILE = "hashes.json"
"""Of the photos and masks that the run was started with, beside its split."""


class Data(NamedTuple):
    train: list[Pair]
    validation: list[Pair]
    hashes: dict[Path, str]
    """The SHA-256 of every photo and mask."""


def generate(config: Config, size: Size, root: Path) -> Path:
    """Write the config's landscapes of `size` to `root`, which it returns.

    Raises InputError for the demo's seed, and where `root` holds others.
    """
    if config.seed == DEMO_SEED:
        raise InputError(f"seed {DEMO_SEED} is kept for landscapes that no model has been trained on; choose another")
    logger.info("no data given: generating %d landscapes in %s", config.data.synthetic_count, root)
    write_dataset(root, config.data.synthetic_count, size, seed=config.seed)
    return root


def prepare(config: Config, root: Path, folder: Path) -> Data:
    """Check every file the first time, then split. The split is kept in `folder`/split, with the files' hashes.

    Later calls see that the files are the same. Raises InputError for faulty data and for others than the first time.
    """
    split_folder = folder / "split"
    if (split_folder / VALIDATION_REFERENCES).exists():  # the last one to be written
        if not (split_folder / HASHES_FILE).exists():
            told = "has no hashes yet, so data and autoencoder are taken to be those of the start"
            logger.info("%s: %s", split_folder, told)
        pairs = find_pairs(root)
        train_pairs, validation_pairs = read_split(split_folder, pairs)
        listed = {pair.stem for pair in (*train_pairs, *validation_pairs)}
        if new := [pair.stem for pair in pairs if pair.stem not in listed]:
            told = f"{len(new)} pairs have come since this run was started, the first {new[0]}; it leaves them out"
            logger.warning("%s: %s", root, told)
        return _claim(split_folder, train_pairs, validation_pairs, root)
    found = survey(root)
    if found.faults:
        more = f" (and {len(found.faults) - 1} more; `python -m jiidm data check {root}` lists them)"
        raise InputError(f"{found.faults[0]}{more if len(found.faults) > 1 else ''}")
    train_pairs, validation_pairs = split(find_pairs(root), config.data.validation_fraction, config.seed)
    if not train_pairs or not validation_pairs:
        raise InputError(f"{root}: {found.num_pairs} pairs are too few to train and validate on")
    write_split(split_folder, train_pairs, validation_pairs, config.seed)
    counts = len(train_pairs), len(validation_pairs)
    logger.info("data: %d training and %d validation pairs in %s", *counts, root)
    return _claim(split_folder, train_pairs, validation_pairs, root)


def _claim(split_folder: Path, train_pairs: list[Pair], validation_pairs: list[Pair], root: Path) -> Data:
    """Hash the pairs, and keep that beside the split or see that what was kept is the same."""
    hashes = hash_files(files_of([*train_pairs, *validation_pairs]))
    named = {same_name(f"{path.parent.name}/{path.name}"): digest for path, digest in hashes.items()}
    claim(split_folder / HASHES_FILE, named, f"restore it in {root}, or choose another --run folder")
    return Data(train_pairs, validation_pairs, hashes)
