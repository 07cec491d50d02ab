"""Masks for a user's own photos, by a segmenter: a data folder to train on, and how far it can be trusted.

A mask file holds, as PNG text, the SHA-256 of its photo and how sure the segmenter was. So a folder goes on from what
is there, and photos that have changed are labelled again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jiidm.classes import NUM_CLASSES, colorize
from jiidm.data.folders import list_files, list_folder, name_faults, require_distinct
from jiidm.data.identity import claim, sha256
from jiidm.data.images import load_image, load_mask, open_image, save_jpeg, write_image
from jiidm.data.pairs import IMAGE_FOLDER, LABEL_FOLDER, Survey, make_data_folders
from jiidm.errors import InputError
from jiidm.report.sheets import contact_sheet
from jiidm.size import Size
from jiidm.system.progress import StepBar
from jiidm.system.shards import WHOLE, Shard

if TYPE_CHECKING:
    from jiidm.evaluate.segmenter import Segmenter  # it loads Jittor, before whose device is chosen

RECORD = "label.json"
UNSURE = 0.5
"""Below this mean probability of the chosen classes an image is listed as doubtful."""
BATCH = 8
SHOWN = 8
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_PHOTO, _CONFIDENCE = "photo_sha256", "confidence"


class Labelled(NamedTuple):
    """A finished folder: pixels of each class, as `data check` counts them, and the confidence of every image."""

    survey: Survey
    confidences: dict[str, float]

    @property
    def doubtful(self) -> list[str]:
        """The stems of images below UNSURE, the least sure first."""
        return sorted(
            (stem for stem, sure in self.confidences.items() if sure < UNSURE), key=self.confidences.__getitem__
        )


def find_own_photos(folder: str | os.PathLike) -> list[Path]:
    """The photos of a folder, sorted. Raises InputError for none, and where two would have the same mask."""
    folder = Path(folder)
    photos = list_files(folder, _SUFFIXES, "the photos")
    if not photos:
        raise InputError(f"{folder}: no photos ({', '.join(_SUFFIXES)})")
    for path, fault in name_faults(photos):
        raise InputError(f"{path}: {fault}")
    return photos


def label_photos(
    photos: Sequence[Path], out: Path, segmenter: Segmenter, size: Size, shard: Shard = WHOLE
) -> dict[Path, str]:
    """Write `out`/imgs/<stem>.jpg of `size` and `out`/labels/<stem>.png of each photo of the shard.

    Photos that have their mask already are skipped. Returns the fault of each photo that cannot be read.
    Raises InputError where `out` holds images of another origin, or made with other settings.
    """
    settings = {"segmenter": segmenter.sha256, "preprocessing": segmenter.preprocessing, "size": list(size[::-1])}
    if segmenter.mapping:
        settings["mapping"] = segmenter.mapping.record()
    make_data_folders(out)
    require_distinct(out, (photo.stem for photo in photos))
    if not (out / RECORD).exists() and any(list_folder(out / name) for name in (IMAGE_FOLDER, LABEL_FOLDER)):
        raise InputError(f"{out}: holds images but no {RECORD}; choose another folder")
    claim(out / RECORD, settings, "choose another folder")
    faults: dict[Path, str] = {}
    mine = shard.of(photos)
    with StepBar(total=len(mine), desc="labelling", unit="photo") as progress:
        for start in range(0, len(mine), BATCH):
            batch = mine[start : start + BATCH]
            _label_batch(batch, out, segmenter, size, faults)
            progress.update(len(batch))
    return faults


def _label_batch(photos: Sequence[Path], out: Path, segmenter: Segmenter, size: Size, faults: dict[Path, str]) -> None:
    images: dict[Path, np.ndarray] = {}
    hashes: dict[Path, str] = {}
    for photo in photos:
        try:
            hashes[photo] = sha256(photo)
            stored = _stored(_mask_path(out, photo)).get(_PHOTO) == hashes[photo]
            if not stored or not _image_path(out, photo).exists():
                images[photo] = load_image(photo, size)
        except InputError as error:
            faults[photo] = str(error)
    if not images:
        return
    masks, confidences = segmenter.label(np.stack(list(images.values())))
    for (photo, image), mask, sure in zip(images.items(), masks, confidences):
        save_jpeg(_image_path(out, photo), image)
        text = PngInfo()
        text.add_text(_PHOTO, hashes[photo])
        text.add_text(_CONFIDENCE, f"{sure:.4f}")
        write_image(_mask_path(out, photo), Image.fromarray(mask), format="PNG", pnginfo=text)


def _image_path(out: Path, photo: Path) -> Path:
    return out / IMAGE_FOLDER / f"{photo.stem}.jpg"


def _mask_path(out: Path, photo: Path) -> Path:
    return out / LABEL_FOLDER / f"{photo.stem}.png"


def _stored(mask: Path) -> dict[str, str]:
    """The texts in a mask file, none where there is no whole one of ours."""
    if not mask.exists():
        return {}
    try:
        with open_image(mask, ("PNG",)) as image:
            image.load()
            return {name: image.info[name] for name in (_PHOTO, _CONFIDENCE)}
    except (InputError, KeyError):
        return {}


def summarize(photos: Sequence[Path], out: Path) -> Labelled | None:
    """What a folder holds for all the photos; None as long as masks are missing.

    `out`/contact.jpg shows photo, mask and both over each other, of some images and of the least sure ones.
    """
    survey, confidences = Survey(num_pairs=len(photos)), {}
    for photo in photos:
        stored = _stored(_mask_path(out, photo))
        if not stored:
            return None
        confidences[photo.stem] = float(stored[_CONFIDENCE])
        mask = load_mask(_mask_path(out, photo))
        survey.class_pixels += np.bincount(mask.ravel(), minlength=NUM_CLASSES)
        survey.sizes[Size(*mask.shape)] += 1
    found = Labelled(survey, confidences)
    stems = [photo.stem for photo in photos]
    count = min(SHOWN, len(stems))
    even = [stems[i * len(stems) // count] for i in range(count)]
    least = sorted((stem for stem in stems if stem not in even), key=confidences.__getitem__)[:SHOWN]
    shown = [*even, *least]
    labels = [f"{stem}, sure of {100 * confidences[stem]:.0f} %" for stem in shown]
    contact_sheet([_row(out, stem) for stem in shown], out / "contact.jpg", ("photo", "mask", "overlay"), labels)
    return found


def _row(out: Path, stem: str) -> list[np.ndarray]:
    photo = load_image(out / IMAGE_FOLDER / f"{stem}.jpg")
    colors = colorize(load_mask(out / LABEL_FOLDER / f"{stem}.png"))
    return [photo, colors, ((photo.astype(np.uint16) + colors) // 2).astype(np.uint8)]
