"""The output folder: `<mask stem>.jpg` for every mask, the run's own files in `_run/`, nothing else."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jiidm.data.images import open_image, orientation, read_size, save_jpeg
from jiidm.errors import InputError
from ldm_jittor.files import atomic_path, leftovers

RUN_FOLDER = "_run"
MANIFEST = "manifest.json"
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


def prepare(out: str | os.PathLike) -> Path:
    """Create `out` and `out/_run`, see that both can be listed and written, and return `out/_run`.

    Temporary images which a killed run left behind are removed, so one process alone prepares a folder.
    Raises InputError where a file is in the way or the permissions do not allow it.
    """
    out = Path(out)
    run_folder = out / RUN_FOLDER
    try:
        run_folder.mkdir(parents=True, exist_ok=True)
        for folder in (out, run_folder):
            os.listdir(folder)
            tempfile.TemporaryFile(dir=folder).close()
        for leftover in leftovers(out):
            leftover.unlink()
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{out}: cannot be the output folder, a file is in the way") from error
    except OSError as error:
        raise InputError(f"{out}: cannot be used as output folder ({error.strerror})") from error
    return run_folder


def pending(masks: list[Path], out: str | os.PathLike) -> list[Path]:
    """The masks without a finished output: a missing, damaged or differently sized one is made again."""
    return [mask for mask in tqdm(masks, desc="looking for finished images", delay=2) if output_fault(mask, out)]


def write(out: str | os.PathLike, stem: str, array: np.ndarray, quality: int = 95) -> Path:
    """Write uint8 RGB [H,W,3] as `out/<stem>.jpg`, atomically, and return that path."""
    path = Path(out) / f"{stem}.jpg"
    save_jpeg(path, array, quality)
    return path


def check(out: str | os.PathLike, masks: list[Path]) -> list[str]:
    """Every fault of a finished output folder, a line each; an empty list means ready to submit.

    Looks for missing, undecodable, non-JPEG, non-RGB and wrongly sized outputs, and for images that belong to
    no mask. Raises InputError if a mask or the folder cannot be read.
    """
    faults = [output_fault(mask, out) for mask in tqdm(masks, desc="checking outputs", delay=2)]
    return [fault for fault in faults if fault] + stray_images(out, masks)


def stray_images(out: str | os.PathLike, masks: list[Path]) -> list[str]:
    """A line for every image in `out` that belongs to no mask. Raises InputError if the folder cannot be read."""
    expected = {f"{mask.stem}.jpg" for mask in masks}
    try:
        images = [path for path in sorted(Path(out).iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES]
    except OSError as error:
        raise InputError(f"{out}: cannot be listed ({error.strerror})") from error
    return [f"{path}: an image that belongs to no mask" for path in images if path.name not in expected]


def output_fault(mask: Path, out: str | os.PathLike) -> str | None:
    """What is wrong with the output of one mask, or None. Raises InputError if the mask cannot be read."""
    return image_fault(Path(out) / f"{mask.stem}.jpg", read_size(mask, ("PNG",)))


def image_fault(path: Path, size: tuple[int, int]) -> str | None:
    """Why a file is no upright JPEG in RGB of `size` (width, height) that decodes to its end, or None."""
    try:
        with open_image(path, ("JPEG",)) as image:
            image.load()
            turned = orientation(image)
    except InputError as error:
        return str(error)
    if image.mode != "RGB":
        return f"{path}: mode {image.mode}, not RGB"
    if image.size != size:
        return f"{path}: size {image.width}x{image.height}, must be {size[0]}x{size[1]}"
    if turned != 1:
        return f"{path}: turned by EXIF orientation {turned}, must be upright"
    return None


def write_manifest(out: str | os.PathLike, manifest: dict) -> Path:
    """Write what the run was made from as `out/_run/manifest.json`, atomically; paths become strings."""
    path = Path(out) / RUN_FOLDER / MANIFEST
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1, ensure_ascii=False, default=str) + "\n", "utf-8")
    return path
