"""What a painting can start from: masks and references, generated, of one's own, or uploaded.

The page knows each by a short key. No path comes from the page.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jiidm.classes import colorize
from jiidm.data.folders import list_files
from jiidm.data.images import (
    encode_jpeg,
    has_foreign_palette,
    load_image,
    load_mask,
    open_image,
    resize_image,
    resize_mask,
    save_png,
)
from jiidm.data.pairs import IMAGE_FOLDER
from jiidm.data.synthetic.dataset import landscape
from jiidm.errors import InputError
from jiidm.size import Size

SEED = 2024
"""Of the generated landscapes; no training run has it."""
STYLES = {
    30: "noon summer cloudy",
    49: "golden spring clear",
    19: "dawn autumn clear",
    53: "dusk winter cloudy",
    37: "night winter cloudy",
    10: "noon winter cloudy",
    55: "golden autumn mist",
    22: "dawn spring clear",
    13: "noon spring mist",
    9: "dusk autumn clear",
    8: "night spring clear",
    12: "noon summer clear",
}
"""Generated landscapes that serve as references: time of day, season and weather."""
LAYOUTS = (2, 14, 31, 29, 54, 36, 39, 49)
"""Generated landscapes whose masks are offered to begin with."""
NAME = "painting"
"""Of a mask that is none of one's own. The noise belongs to it and the seed."""
MAX_UPLOADS = 50
MAX_MASK_PIXELS = 2**22
THUMBNAIL_WIDTH = 144


def find_photos(data: Path) -> list[Path]:
    """The photos of a data folder, imgs/*.jpg. Raises InputError where there are none."""
    folder = data / IMAGE_FOLDER
    photos = list_files(folder, (".jpg", ".jpeg"), "the photos")
    if not photos:
        raise InputError(f"{folder}: no *.jpg photos in this folder")
    return photos


class Drawing(NamedTuple):
    """A mask to paint on, uint8 [h,w] of class ids, and the name that its image will have."""

    mask: np.ndarray
    name: str
    foreign: bool = False
    """Whether its file has another palette, and so perhaps another order of classes."""


class Library:
    """All masks and references by key. Uploads are kept in `folder`, the newest MAX_UPLOADS of them."""

    def __init__(self, folder: Path, size: Size, masks: Sequence[Path] = (), photos: Sequence[Path] = ()):
        """size: of what is generated. masks, photos: one's own."""
        self._folder, self._size = folder, size
        self._own_masks = {f"m{number}": path for number, path in enumerate(masks)}
        self._photos = {f"d{number}": path for number, path in enumerate(photos)}
        self._uploads: dict[str, Path] = {}
        self._uploaded = 0
        self._lock = threading.Lock()

    @property
    def names(self) -> set[str]:
        return {NAME, *(path.stem for path in self._own_masks.values())}

    def describe(self) -> dict[str, list[dict[str, str]]]:
        """Keys and labels of what there is, for the page."""
        own = [{"key": key, "label": path.name} for key, path in self._own_masks.items()]
        generated = [{"key": f"g{number}", "label": ""} for number in LAYOUTS]
        styles = [{"key": f"s{number}", "label": label} for number, label in STYLES.items()]
        photos = [{"key": key, "label": path.name} for key, path in self._photos.items()]
        uploads = [{"key": key, "label": ""} for key in self._uploads]
        return {"masks": [*own, *generated], "references": [*uploads, *photos, *styles]}

    def drawing(self, key: str) -> Drawing:
        """The mask of a key: m, one's own; g and any number, a generated one. Raises InputError for another."""
        if key in self._own_masks:
            path = self._own_masks[key]
            return Drawing(_of_bearable_size(load_mask(path), path.name), path.stem, has_foreign_palette(path))
        return Drawing(landscape(_number(key, "g"), self._size, seed=SEED)[1], NAME)

    def reference(self, key: str) -> Path:
        """The photo of a key: u, uploaded; d, of the data folder; s, generated. Raises InputError for another."""
        if key in self._photos:
            return self._photos[key]
        if key in self._uploads:
            return self._uploads[key]
        number = _number(key, "s")
        if number not in STYLES:
            raise InputError(f"reference {key}: no such reference")
        path = self._folder / f"style{number}.png"
        with self._lock:
            if not path.exists():
                save_png(path, landscape(number, self._size, seed=SEED)[0])
        return path

    def add_reference(self, content: bytes) -> str:
        """Keep an uploaded photo, and give its key. Raises InputError as `load_image` does."""
        path = self._checked(content, "the photo", load_image)
        with self._lock:
            with open_image(path) as image:
                kept = path.rename(path.with_suffix(f".{str(image.format).lower()}"))
            key = kept.stem
            self._uploads[key] = kept
            if len(self._uploads) > MAX_UPLOADS:
                self._uploads.pop(next(iter(self._uploads))).unlink(missing_ok=True)
        return key

    def uploaded_mask(self, content: bytes) -> Drawing:
        """The mask in an uploaded PNG. Raises InputError as `load_mask` does, and for more than MAX_MASK_PIXELS."""
        source = "the mask"
        path = self._checked(content, source, load_mask)
        try:
            return Drawing(_of_bearable_size(load_mask(path), source), NAME, has_foreign_palette(path))
        finally:
            path.unlink()

    @functools.lru_cache(maxsize=4096)  # noqa: B019  one library lives as long as the server
    def thumbnail(self, key: str) -> bytes:
        """A small JPEG of a mask or a reference. Raises InputError where there is none."""
        if key[:1] in ("m", "g"):
            mask = self.drawing(key).mask
            return encode_jpeg(colorize(resize_mask(mask, _small(Size(*mask.shape)))), 85)
        photo = load_image(self.reference(key))
        return encode_jpeg(resize_image(photo, _small(Size(*photo.shape[:2]))), 85)

    def _checked(self, content: bytes, source: str, load: Callable[[Path], np.ndarray]) -> Path:
        """The content in a file that `load` accepts. Its message names `source` in place of the file."""
        with self._lock:
            self._uploaded += 1
            path = self._folder / f"u{self._uploaded}"
        path.write_bytes(content)
        try:
            load(path)
        except InputError as error:
            path.unlink()
            raise InputError(str(error).replace(str(path), source)) from None
        return path


def _number(key: str, kind: str) -> int:
    number = key.removeprefix(kind)
    if not key.startswith(kind) or not number.isdecimal() or not number.isascii() or len(number) > 9:
        raise InputError(f"{key}: no such mask or reference")
    return int(number)


def _of_bearable_size(mask: np.ndarray, source: str) -> np.ndarray:
    height, width = mask.shape
    if mask.size > MAX_MASK_PIXELS:
        raise InputError(f"{source}: {width}x{height} pixels, the painter takes {MAX_MASK_PIXELS} in all")
    return mask


def _small(size: Size) -> Size:
    return Size(max(1, round(size.height * THUMBNAIL_WIDTH / size.width)), THUMBNAIL_WIDTH)
