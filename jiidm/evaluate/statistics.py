"""The real photos' side of a Frechet distance: mean and covariance of their features, computed once."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from jiidm.data.folders import list_files
from jiidm.data.identity import hash_files
from jiidm.data.images import load_image, read_size
from jiidm.data.pairs import IMAGE_FOLDER
from jiidm.data.prefetch import load_ahead
from jiidm.errors import InputError
from jiidm.evaluate.metrics import gaussian
from jiidm.size import Size
from jiidm.system.progress import StepBar
from jiidm.system.shards import Shard
from ldm_jittor.files import load_npz, save_npz

logger = logging.getLogger(__name__)

BATCH = 8
_SUFFIXES = (".jpg", ".jpeg", ".png")


class Network(Protocol):
    """What turns images into features: `inception.Inception` or `segformer.Segmenter`."""

    name: str
    sha256: str
    preprocessing: dict

    def features(self, images: np.ndarray) -> np.ndarray: ...


def find_photos(folder: str | os.PathLike) -> list[Path]:
    """The photos of a folder, or of the `imgs/` of a data folder, sorted.

    Raises InputError for fewer than two, and for one that is a folder or a link to nothing.
    """
    folder = Path(folder)
    if (folder / IMAGE_FOLDER).is_dir():
        folder = folder / IMAGE_FOLDER
    photos = list_files(folder, _SUFFIXES, "the real photos")
    if strange := [photo for photo in photos if not photo.is_file()]:
        raise InputError(f"{strange[0]}: not a file")
    if len(photos) < 2:
        raise InputError(f"{folder}: {len(photos)} real photos; a Frechet distance needs at least 2")
    return photos


class Reality(NamedTuple):
    """The real photos, as a network sees them."""

    features: np.ndarray
    """[N,D] in the photos' order."""
    mu: np.ndarray
    """Their mean [D]."""
    sigma: np.ndarray
    """Their covariance [D,D]."""


def photo_features(photos: Sequence[Path], size: Size, network: Network) -> Reality:
    """The photos' features, from the cache where they were computed before.

    Raises InputError for a photo that does not decode, and for one that is not of `size`, the outputs' own: a distance
    between images of unequal sizes would measure the resizing too.
    """
    cache = _cache_file(photos, size, network)
    known = _read(cache)
    if known:
        logger.info("features of the real photos: %s", cache)
        return known
    _check_sizes(photos, size)
    return _keep(cache, np.concatenate(_features(_cut(photos), size, network)))


class PhotoParts:
    """`photo_features` in parts, each in a file of `folder`, for shards that share no cache.

    A file counts while photos, size and network are those that it was made from. Raises as `photo_features`.
    """

    def __init__(self, photos: Sequence[Path], size: Size, network: Network, folder: Path, count: int):
        self.photos, self.size, self.network, self.folder, self.count = photos, size, network, folder, count
        self._cache = _cache_file(photos, size, network)
        _check_sizes(photos, size)

    def add(self, number: int) -> None:
        """Write part `number`, unless it is there. Raises OSError where that is not possible."""
        if self._load(number) is not None:
            return
        own = _own(self.photos, number, self.count)
        if known := _read(self._cache):
            rows = dict(zip(self.photos, known.features))
            features = [np.stack([rows[photo] for photo in batch]) for batch in own]
        else:
            features = _features(own, self.size, self.network)
        self.folder.mkdir(exist_ok=True)
        joined = np.concatenate(features) if features else np.zeros((0, 0))
        save_npz(self._path(number), made_from=np.array(self._cache.name), features=joined)

    def joined(self) -> Reality | None:
        """What `photo_features` gives; None where a part is missing."""
        rows: dict[Path, np.ndarray] = {}
        for number in range(1, self.count + 1):
            features = self._load(number)
            if features is None:
                return None
            rows.update(zip(itertools.chain(*_own(self.photos, number, self.count)), features))
        return _read(self._cache) or _keep(self._cache, np.stack([rows[photo] for photo in self.photos]))

    def _load(self, number: int) -> np.ndarray | None:
        try:
            arrays = load_npz(self._path(number))
            return arrays["features"] if str(arrays["made_from"]) == self._cache.name else None
        except (OSError, ValueError, KeyError):
            return None

    def _path(self, number: int) -> Path:
        return self.folder / f"real_{number}_of_{self.count}.npz"


def _cut(photos: Sequence[Path]) -> list[Sequence[Path]]:
    return [photos[i : i + BATCH] for i in range(0, len(photos), BATCH)]


def _own(photos: Sequence[Path], number: int, count: int) -> Sequence[Sequence[Path]]:
    """A part's batches. They are cut from all photos, because features depend on their batch in the last digits."""
    return Shard(number, count).of(_cut(photos))


def _features(batches: Sequence[Sequence[Path]], size: Size, network: Network) -> list[np.ndarray]:
    features = []
    total = sum(map(len, batches))
    with StepBar(total=total, desc="features of the real photos", unit="image", disable=not batches) as progress:
        for _, images in load_ahead(lambda step: _load(batches[step], size), range(len(batches))):
            features.append(network.features(images))
            progress.update(len(images))
    return features


def _keep(cache: Path, features: np.ndarray) -> Reality:
    reality = Reality(features, *gaussian(features))
    _write(cache, reality)
    return reality


def photo_statistics(photos: Sequence[Path], size: Size, network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and covariance [D,D] of the photos' features. Raises as `photo_features`."""
    return photo_features(photos, size, network)[1:]


def _load(photos: Sequence[Path], size: Size) -> np.ndarray:
    images = [load_image(photo) for photo in photos]
    for photo, image in zip(photos, images):
        _check_size(photo, Size(*image.shape[:2]), size)  # as decoded; the header may have lied
    return np.stack(images)


def _check_sizes(photos: Sequence[Path], size: Size) -> None:
    for photo in tqdm(photos, desc="sizes of the real photos", delay=2):
        _check_size(photo, read_size(photo), size)


def _check_size(photo: Path, found: Size, size: Size) -> None:
    if found != size:
        raise InputError(f"{photo}: {found}, the outputs are {size}; a Frechet distance needs equal sizes")


def list_digest(photos: Sequence[Path]) -> str:
    """A SHA-256 over the photos' contents. It tells which photos they are, wherever they lie."""
    return _digest(list(hash_files(photos).values()))


def _cache_file(photos: Sequence[Path], size: Size, network: Network) -> Path:
    """The cache of these photos, named by what decides its content: network, preprocessing, photos."""
    contents = list(hash_files(photos).values())
    key = _digest([network.sha256, network.preprocessing, size[::-1], contents])
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "jiidm" / f"features-{key}.npz"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read(cache: Path) -> Reality | None:
    try:
        arrays = load_npz(cache)
        return Reality(*(arrays[name] for name in Reality._fields))
    except (OSError, ValueError, KeyError):
        return None


def _write(cache: Path, reality: Reality) -> None:
    """Mean and covariance have pytorch-fid's names. A cache that cannot be written costs time only."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_npz(cache, **reality._asdict())
    except OSError as error:
        logger.warning("%s: cannot be written (%s); the next call computes it again", cache, error.strerror)
