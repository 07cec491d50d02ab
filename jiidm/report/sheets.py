"""What a person looks at: contact sheets, sample grids, loss curves, tables."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jiidm.data.images import save_jpeg, save_png
from jiidm.errors import InputError
from ldm_jittor.files import atomic_path

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

    Tiles are shrunk to at most 256 pixels wide; `labels` puts a line, such as the file stem, above each row.
    Writes PNG or JPEG by the suffix of `path`. More than `rows_per_sheet` rows continue in `<stem>-2<suffix>`
    and so on. Returns the files written. Raises ValueError if rows, captions and labels differ in length, and
    InputError for another suffix.
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
    """Lay out uint8 RGB images [H,W,3] of one size on a nearly square grid; PNG or JPEG by suffix."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    height, width = images[0].shape[:2]
    rows = math.ceil(len(images) / columns)
    grid = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        grid[top : top + height, left : left + width] = image
    _save(Path(path), grid)


def plot_losses(jsonl_path: str | os.PathLike, png_path: str | os.PathLike) -> None:
    """Draw a training log, lines of {"step": ..., "loss": ..., "val_loss": ...}, as a PNG.

    Raw losses are pale, their exponential average solid, validation losses dots, Frechet distances squares with an
    axis of their own; other keys are ignored. A step logged twice, as after a resume, counts with its last value; a
    half-written last line is left out. Raises InputError for any other line that is not such JSON and for a log
    without any loss.
    """
    from matplotlib.figure import Figure  # takes half a second

    records = _read_log(Path(jsonl_path))
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="training step", ylabel="loss")
    steps, losses = _series(records, "loss")
    if len(steps):
        axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8, label="training, every record")
        axes.plot(steps, _smooth(losses), color="tab:blue", linewidth=1.8, label="training, smoothed")
    validation_steps, validation_losses = _series(records, "val_loss")
    if len(validation_steps):
        axes.plot(validation_steps, validation_losses, "o", color="tab:orange", markersize=5, label="validation")
    drawn = np.concatenate([losses, validation_losses])
    if not len(drawn):
        raise InputError(f"{jsonl_path}: no losses in this log")
    if drawn.min() > 0 and drawn.max() > 10 * drawn.min():
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    for score in ("FID", "fd_seg"):
        steps, distances = _series(records, score)
        if len(steps):
            right = axes.twinx()
            right.set(ylabel=score, ylim=(0, 1.1 * distances.max()))
            right.plot(steps, distances, "s--", color="tab:green", markersize=5, label=f"validation, {score}")
    figure.legend(loc="outside upper center", ncols=4)
    with atomic_path(png_path) as temporary:
        figure.savefig(temporary, format="png")


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """An aligned markdown table; numbers are right-aligned, floats shown to 4 significant digits."""
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    numeric = [all(isinstance(cell, (int, float)) for cell in column) for column in zip(*rows)]
    numeric = numeric or [False] * len(header)
    widths = [max(3, *map(len, column)) for column in zip(header, *cells)]

    def line(row: Sequence[str]) -> str:
        aligned = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric))
        return f"| {' | '.join(aligned)} |"

    rule = ["-" * (w - 1) + (":" if right else "-") for w, right in zip(widths, numeric)]
    return "\n".join([line(header), line(rule), *map(line, cells)])


def _draw_sheet(rows, captions: Sequence[str], labels: Sequence[str] | None) -> np.ndarray:
    tiles = [[_shrink(image) for image in row] for row in rows]
    font = ImageFont.load_default(_FONT_SIZE)
    widest_caption = max(math.ceil(font.getlength(caption)) for caption in captions)
    column = max(widest_caption, *(tile.width for row in tiles for tile in row))
    label_height = _TEXT_HEIGHT if labels else 0
    heights = [label_height + max(tile.height for tile in row) + _GAP for row in tiles]
    sheet = Image.new("RGB", (_GAP + len(captions) * (column + _GAP), _TEXT_HEIGHT + _GAP + sum(heights)), "white")
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


def _read_log(path: Path) -> list[dict]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            record["step"] = int(record["step"])
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines):
                break
            raise InputError(f'{path}: line {number} is not {{"step": ..., "loss": ...}}') from error
        records.append(record)
    return records


def _series(records: list[dict], key: str) -> tuple[np.ndarray, np.ndarray]:
    values = {record["step"]: record[key] for record in records if record.get(key) is not None}
    steps = sorted(step for step, value in values.items() if math.isfinite(value))
    return np.array(steps), np.array([values[step] for step in steps], dtype=float)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Exponential average over about a fortieth of the curve, without the pull of a start at zero."""
    decay = 1 - 1 / max(1, len(values) / 40)
    smooth, weight, average = np.empty_like(values), 0.0, 0.0
    for index, value in enumerate(values):
        average = decay * average + (1 - decay) * value
        weight = decay * weight + (1 - decay)
        smooth[index] = average / weight
    return smooth
