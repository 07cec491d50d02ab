"""Procedural landscapes with exact 29-class masks: the embedded dataset.

Layout (what the mask shows) and style (time of day, season, weather) come from independent random streams, so every
scene exists in every style. Scenes are painted back to front, picture and mask together.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from jiidm.data.folders import list_folder
from jiidm.data.identity import claim, sha256
from jiidm.data.images import load_image, load_mask, save_png, write_image
from jiidm.data.pairs import make_data_folders
from jiidm.data.synthetic.canvas import Canvas
from jiidm.data.synthetic.scenes import paint_scene
from jiidm.data.synthetic.style import draw_style
from jiidm.errors import InputError
from jiidm.size import CHALLENGE_SIZE, Size
from ldm_jittor.files import naming, read_json, read_text

GENERATOR_VERSION: int = 2
CHECKSUMS = "checksums.txt"
_SMALLEST = Size(height=48, width=64)
_JPEG_ERROR = 8.0
"""Levels that a landscape's JPEG may be off in the mean. Other landscapes differ by tens."""
_LAYOUT, _STYLE, _TEXTURE = range(3)


def landscape(
    index: int, size: Size = CHALLENGE_SIZE, *, seed: int = 0, style: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Landscape number `index` at `size`: image uint8 RGB [H,W,3], mask uint8 [H,W] of 0-28.

    The mask depends on (seed, index, size) only; light, season and weather on (seed, `style` or else index).
    Another size shows the same scene. Raises InputError for a size below 64x48 or a negative number.
    """
    _check(size, index=index, seed=seed, style=style or 0)
    layout = np.random.default_rng([seed, index, _LAYOUT])
    texture = np.random.default_rng([seed, index, _TEXTURE])
    look = draw_style(np.random.default_rng([seed, index if style is None else style, _STYLE]))
    canvas = Canvas(size, look, layout, texture, horizon=float(layout.uniform(0.42, 0.56)))
    paint_scene(canvas)
    return canvas.developed(), canvas.mask


def _check(size: Size, **numbers: int) -> None:
    if size.height < _SMALLEST.height or size.width < _SMALLEST.width:
        raise InputError(f"size {size}: a landscape needs {_SMALLEST} or more")
    for name, number in numbers.items():
        if number < 0:
            raise InputError(f"{name} {number}: must not be negative")


def write_dataset(
    root: str | os.PathLike,
    count: int,
    size: Size,
    *,
    seed: int = 0,
    start: int = 0,
    progress: bool = True,
) -> None:
    """Write landscapes `start` to `start + count - 1`: `root`/imgs/synth_000123.jpg, labels/synth_000123.png.

    Pairs that exist are skipped, so an interrupted call goes on. `root`/dataset.json holds the generator's version,
    seed and [width, height]. Raises InputError where these differ, so that one folder holds one dataset, and for a file
    that is not the landscape of its number. `root`/checksums.txt, which `sha256sum -c` reads too, tells that soon.
    """
    if count < 1:
        raise InputError(f"count {count}: must be 1 or more")
    _check(size, start=start, seed=seed)
    root = Path(root)
    _claim(root, {"generator_version": GENERATOR_VERSION, "seed": seed, "size": list(size[::-1])})
    recorded = _recorded(root)
    for index in tqdm(range(start, start + count), desc="landscapes", unit="image", disable=not progress):
        image_path = root / "imgs" / f"synth_{index:06d}.jpg"
        mask_path = root / "labels" / f"synth_{index:06d}.png"
        found = {_line(root, path) for path in (image_path, mask_path) if path.exists()}
        if len(found) == 2 and found <= recorded:
            continue
        image, mask = landscape(index, size, seed=seed)
        if image_path.exists():
            _require(image_path, load_image(image_path), image, _JPEG_ERROR)
        else:
            write_image(image_path, Image.fromarray(image), format="JPEG", quality=95)
        if mask_path.exists():
            _require(mask_path, load_mask(mask_path), mask, 0)
        else:
            save_png(mask_path, mask)
        _record(root, *(_line(root, path) for path in (image_path, mask_path)))


def _recorded(root: Path) -> set[str]:
    """The lines of the files that were found to be as generated."""
    try:
        text = read_text(root / CHECKSUMS)
    except FileNotFoundError:
        return set()
    except (OSError, ValueError) as error:
        raise InputError(f"{root / CHECKSUMS}: cannot be read ({error}); remove it") from None
    if text and not text.endswith("\n"):
        _record(root, "")  # ends the line that a power cut has cut off
    return set(text.splitlines())


def _record(root: Path, *lines: str) -> None:
    with naming(root / CHECKSUMS), open(root / CHECKSUMS, "a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _line(root: Path, path: Path) -> str:
    return f"{sha256(path)}  {path.relative_to(root).as_posix()}"


def _require(path: Path, found: np.ndarray, generated: np.ndarray, error: float) -> None:
    """Raises InputError where the pixels of a file are not those that belong there, up to a mean error."""
    if found.shape != generated.shape or np.abs(found.astype(int) - generated).mean() > error:
        raise InputError(f"{path}: not as it was generated; remove it to have it made again")


def stored_version(root: str | os.PathLike) -> int | None:
    """The version of the generator that made the dataset `root`; None for a dataset from elsewhere."""
    try:
        settings = read_json(Path(root) / "dataset.json")
        return settings["generator_version"]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _claim(root: Path, settings: dict) -> None:
    """Make the dataset's folders and record its settings; on later calls compare them instead."""
    path = root / "dataset.json"
    make_data_folders(root)
    has_images = any(list_folder(root / name) for name in ("imgs", "labels"))
    if has_images and not path.exists():  # in this order, for another process may be at work
        raise InputError(f"{root}: holds images but no dataset.json; choose another folder")
    claim(path, settings, "choose another folder")
