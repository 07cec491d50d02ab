"""Training data: pairs of photo and mask, their faults, and the split into training and validation."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jiidm.classes import CLASS_NAMES, NUM_CLASSES
from jiidm.data.folders import list_folder, name_faults, same_text
from jiidm.data.images import load_image, load_mask, warn_of_palettes
from jiidm.data.references import write_references
from jiidm.errors import InputError
from jiidm.size import Size
from ldm_jittor.errors import one_line
from ldm_jittor.files import atomic_path, read_text

IMAGE_FOLDER, LABEL_FOLDER = "imgs", "labels"
TRAIN_LIST, VALIDATION_LIST, VALIDATION_REFERENCES = "train.txt", "val.txt", "val_references.json"


@dataclass(frozen=True)
class Pair:
    """A photo and its mask: `imgs/<stem>.jpg` and `labels/<stem>.png`."""

    stem: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one file of a data folder."""

    path: Path
    message: str

    def __str__(self) -> str:
        return one_line(f"{self.path}: {self.message}")


@dataclass
class Survey:
    """The findings of `survey`. `class_pixels` counts the pixels of each class [29]."""

    num_pairs: int = 0
    faults: list[Fault] = field(default_factory=list)
    sizes: Counter[Size] = field(default_factory=Counter)
    class_pixels: np.ndarray = field(default_factory=lambda: np.zeros(NUM_CLASSES, dtype=np.int64))

    def class_shares(self) -> list[tuple[str, float]]:
        """(class name, share of all mask pixels) for the classes present, largest first."""
        shares = self.class_pixels / max(1, self.class_pixels.sum())
        present = [(CLASS_NAMES[index], float(shares[index])) for index in np.flatnonzero(self.class_pixels)]
        return sorted(present, key=lambda row: -row[1])


def find_pairs(root: str | os.PathLike) -> list[Pair]:
    """The pairs of a data folder, sorted by stem; only file names are looked at.

    Raises InputError if a folder is missing, a file has no partner or there are no pairs.
    """
    images, labels = _files_by_stem(root, IMAGE_FOLDER, ".jpg"), _files_by_stem(root, LABEL_FOLDER, ".png")
    faults = _name_faults(root) or _missing_partners(images, labels)
    if faults:
        raise InputError(f"{faults[0]} ({len(faults)} such in all; `data check` lists them)")
    if not images:
        raise InputError(f"{root}: no pairs imgs/<stem>.jpg, labels/<stem>.png")
    pairs = [Pair(image.stem, image, labels[name]) for name, image in images.items()]
    return sorted(pairs, key=lambda pair: pair.stem)


def files_of(pairs: Iterable[Pair]) -> list[Path]:
    """The photo and the mask of each pair."""
    return [path for pair in pairs for path in (pair.image, pair.label)]


def make_data_folders(root: str | os.PathLike) -> None:
    """Create `root`/imgs and `root`/labels. Raises InputError where they cannot be made."""
    for folder in (Path(root) / IMAGE_FOLDER, Path(root) / LABEL_FOLDER):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made: {error.strerror}") from error


def survey(root: str | os.PathLike, size: Size | None = None) -> Survey:
    """Decode every file of a data folder, and count what is there and what is wrong with it.

    Faults are: a missing partner, a file of another kind, a name that is not UTF-8 or the same as another, a file that
    does not decode, a mask of a wrong mode or with labels outside 0-28, an image and mask of different sizes, and sizes
    other than `size` if given. Raises InputError only where the folders themselves are missing.
    """
    images, labels = _files_by_stem(root, IMAGE_FOLDER, ".jpg"), _files_by_stem(root, LABEL_FOLDER, ".png")
    result = Survey(num_pairs=len(images.keys() & labels.keys()))
    result.faults += _foreign_files(root, IMAGE_FOLDER, ".jpg") + _foreign_files(root, LABEL_FOLDER, ".png")
    result.faults += _name_faults(root) + _missing_partners(images, labels)
    for stem in tqdm(sorted(images.keys() | labels.keys()), desc="checking", unit="pair", delay=1):
        image = _try_load(load_image, images.get(stem), result.faults)
        mask = _try_load(load_mask, labels.get(stem), result.faults)
        if mask is not None:
            result.class_pixels += np.bincount(mask.ravel(), minlength=NUM_CLASSES)
            result.sizes[Size(*mask.shape)] += 1
        result.faults += _size_faults(images.get(stem), image, labels.get(stem), mask, size)
    warn_of_palettes(labels[stem] for stem in sorted(labels))
    if not images and not labels:
        result.faults.append(Fault(Path(root), "no pairs imgs/<stem>.jpg, labels/<stem>.png"))
    return result


def split(pairs: Iterable[Pair], validation_fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Divide pairs into (train, validation), each in the order given.

    A pair is for validation when a hash of (seed, stem), read as a number in [0, 1), is below `validation_fraction`. So
    adding files moves no other pair. With two or more pairs each set gets at least one, the nearest to its side of the
    limit. A single pair is for training. Raises InputError for a fraction outside (0, 1).
    """
    if not 0 < validation_fraction < 1:
        raise InputError(f"validation fraction {validation_fraction} must lie between 0 and 1")
    pairs = list(pairs)
    draws = {pair.stem: _uniform(seed, "split", pair.stem) for pair in pairs}
    chosen = {stem for stem, draw in draws.items() if draw < validation_fraction}
    if chosen and len(chosen) == len(draws):
        chosen.remove(max(draws, key=draws.__getitem__))
    elif not chosen and len(draws) > 1:
        chosen = {min(draws, key=draws.__getitem__)}
    return [p for p in pairs if p.stem not in chosen], [p for p in pairs if p.stem in chosen]


def pair_references(train: list[Pair], validation: list[Pair], seed: int) -> dict[str, str]:
    """{validation mask name: training image name} in an order that `seed` shuffles; no image twice while they last."""
    order = sorted(train, key=lambda pair: _uniform(seed, "reference", pair.stem))
    return {pair.label.name: photo.image.name for pair, photo in zip(validation, itertools.cycle(order))}


def write_split(folder: str | os.PathLike, train: list[Pair], validation: list[Pair], seed: int) -> None:
    """Write `train.txt` and `val.txt`, a stem per line, and `val_references.json` for the validation masks.

    The JSON has the challenge's form {"<mask>.png": "<image>.jpg"} and names images of the training set.
    Raises InputError if `folder` cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, pairs in ((TRAIN_LIST, train), (VALIDATION_LIST, validation)):
            with atomic_path(folder / name) as temporary:
                temporary.write_text("".join(f"{pair.stem}\n" for pair in pairs), encoding="utf-8")
        write_references(folder / VALIDATION_REFERENCES, pair_references(train, validation, seed))
    except OSError as error:
        raise InputError(f"{folder}: cannot write the split here ({error.strerror})") from error


def read_split(folder: str | os.PathLike, pairs: Iterable[Pair]) -> tuple[list[Pair], list[Pair]]:
    """The (train, validation) pairs that `write_split` listed in `folder`.

    Raises InputError if a list is missing or names a stem that is not among `pairs`.
    """
    by_stem = {same_text(pair.stem): pair for pair in pairs}
    train, validation = (_read_list(Path(folder) / name, by_stem) for name in (TRAIN_LIST, VALIDATION_LIST))
    return train, validation


def _uniform(seed: int, purpose: str, stem: str) -> float:
    digest = hashlib.sha256(f"{seed}/{purpose}/{stem}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _list_folder(root: str | os.PathLike, folder: str) -> list[Path]:
    path = Path(root) / folder
    try:
        return list_folder(path)
    except OSError as error:
        raise InputError(f"{path}: cannot list this data folder ({error.strerror})") from error


def _files_by_stem(root: str | os.PathLike, folder: str, suffix: str) -> dict[str, Path]:
    return {same_text(path.stem): path for path in _list_folder(root, folder) if path.suffix.lower() == suffix}


def _name_faults(root: str | os.PathLike) -> list[Fault]:
    faults = []
    for folder, suffix in ((IMAGE_FOLDER, ".jpg"), (LABEL_FOLDER, ".png")):
        paths = [path for path in _list_folder(root, folder) if path.suffix.lower() == suffix]
        faults += [Fault(*fault) for fault in name_faults(paths)]
    return faults


def _foreign_files(root: str | os.PathLike, folder: str, suffix: str) -> list[Fault]:
    extra = [path for path in _list_folder(root, folder) if path.suffix.lower() != suffix]
    return [Fault(path, f"only *{suffix} files belong in {folder}/") for path in extra]


def _missing_partners(images: dict[str, Path], labels: dict[str, Path]) -> list[Fault]:
    without_mask = [Fault(images[s], f"no mask {s}.png") for s in sorted(images.keys() - labels.keys())]
    without_image = [Fault(labels[s], f"no image {s}.jpg") for s in sorted(labels.keys() - images.keys())]
    return without_mask + without_image


def _try_load(load, path: Path | None, faults: list[Fault]) -> np.ndarray | None:
    if path is None:
        return None
    try:
        return load(path)
    except InputError as error:
        faults.append(Fault(path, str(error).removeprefix(f"{path}: ")))
        return None


def _size_faults(image_path, image, label_path, mask, size: Size | None) -> list[Fault]:
    faults = []
    if image is not None and mask is not None and image.shape[:2] != mask.shape:
        faults.append(Fault(label_path, f"size {_size_of(mask)}, its image {_size_of(image)}"))
    for path, array in ((image_path, image), (label_path, mask)):
        if size is not None and array is not None and _size_of(array) != size:
            faults.append(Fault(path, f"size {_size_of(array)}, expected {size}"))
    return faults


def _size_of(array: np.ndarray) -> Size:
    return Size(*array.shape[:2])


def _read_list(path: Path, by_stem: dict[str, Pair]) -> list[Pair]:
    try:
        lines = read_text(path).split("\n")  # names may hold Unicode's other line ends
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the split list ({error})") from error
    stems = [line.removesuffix("\r") for line in lines if line]
    unknown = [stem for stem in stems if same_text(stem) not in by_stem]
    if unknown:
        raise InputError(f"{path}: no pair for {unknown[0]!r} ({len(unknown)} such in all)")
    return [by_stem[same_text(stem)] for stem in stems]
