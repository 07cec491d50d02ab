"""Images side by side: contact sheets with captions, and plain grids."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jiidm.data.images import save_jpeg, save_png
from jiidm.errors import InputError

TILE_WIDTH = 256
_GAP = 4
_FONT_SIZE = 14
_TEXT_HEIGHT = 20


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    path: str | os.PathLike,
    captions: Sequence[str],
    labels: Sequence[str] | None = None,
    rows_per_sheet: int = 32,
) -> list[Path]:
    """Draw rows of images, uint8 RGB [H,W,3] of one size per row, under a header of one caption per column.

    Tiles are shrunk to at most 256 pixels wide. `labels` puts a line, such as the file stem, above each row. The suffix
    of `path` chooses PNG or JPEG. More than `rows_per_sheet` rows continue in `<stem>-2<suffix>` and so on.
    Returns the files written. Raises ValueError if rows, captions and labels differ in length, and InputError for
    another suffix.
    """
    if not rows or any(len(row) != len(captions) for row in rows):
        raise ValueError(f"every row needs {len(captions)} images, one per caption")
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"{len(labels)} labels for {len(rows)} rows")
    path = Path(path)
    written = []
    for start in range(0, len(rows), rows_per_sheet):
        stop = start + rows_per_sheet
        sheet = _draw_sheet(rows[start:stop], captions, labels[start:stop] if labels else None)
        number = start // rows_per_sheet + 1
        written.append(path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}"))
        _save(written[-1], sheet)
    return written


def sample_grid(images: Sequence[np.ndarray], path: str | os.PathLike, columns: int | None = None) -> None:
    """Lay out uint8 RGB images [H,W,3] of one size on a nearly square grid. The suffix chooses PNG or JPEG."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    height, width = images[0].shape[:2]
    rows = math.ceil(len(images) / columns)
    grid = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        grid[top : top + height, left : left + width] = image
    _save(Path(path), grid)


def _draw_sheet(rows, captions: Sequence[str], labels: Sequence[str] | None) -> np.ndarray:
    tiles = [[_shrink(image) for image in row] for row in rows]
    font = ImageFont.load_default(_FONT_SIZE)
    widest_caption = max(math.ceil(font.getlength(caption)) for caption in captions)
    column = max(widest_caption, *(tile.width for row in tiles for tile in row))
    label_height = _TEXT_HEIGHT if labels else 0
    heights = [label_height + max(tile.height for tile in row) + _GAP for row in tiles]
    widest_label = max((math.ceil(font.getlength(label)) for label in labels or ()), default=0)
    width = max(_GAP + len(captions) * (column + _GAP), widest_label + 2 * _GAP)
    sheet = Image.new("RGB", (width, _TEXT_HEIGHT + _GAP + sum(heights)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, caption in enumerate(captions):
        draw.text((_GAP + index * (column + _GAP), 2), caption, fill="black", font=font)
    top = _TEXT_HEIGHT + _GAP
    for number, (row, height) in enumerate(zip(tiles, heights)):
        if labels:
            draw.text((_GAP, top), labels[number], fill="dimgray", font=font)
        for index, tile in enumerate(row):
            sheet.paste(tile, (_GAP + index * (column + _GAP), top + label_height))
        top += height
    return np.array(sheet)


def _shrink(image: np.ndarray) -> Image.Image:
    tile = Image.fromarray(image)
    if tile.width <= TILE_WIDTH:
        return tile
    height = max(1, round(tile.height * TILE_WIDTH / tile.width))
    return tile.resize((TILE_WIDTH, height), Image.Resampling.BOX)


def _save(path: Path, array: np.ndarray) -> None:
    suffix = path.suffix.lower()
    if suffix not in (".jpg", ".jpeg", ".png"):
        raise InputError(f"{path}: a picture's name ends in .jpg or .png")
    save = save_png if suffix == ".png" else save_jpeg
    save(path, array)
