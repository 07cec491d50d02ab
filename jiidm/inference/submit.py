"""The submission: the checked folder as one zip file, and the images selected for the experts' vote."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from jiidm.data.images import read_jpeg_quality
from jiidm.errors import InputError
from jiidm.inference import scorecard
from jiidm.inference.folder import RUN_FOLDER, OutputFolder, image_fault
from jiidm.size import Size
from ldm_jittor.files import atomic_path

SELECTED = "selects"
MIN_QUALITY = 90
"""The challenge names no limit, so this is ours: a library's default of 75 is noticed. Inference writes 95."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip file can hold. The true dates would change its bytes."""


def check(out: str | os.PathLike, masks: Sequence[Path], size: Size) -> list[str]:
    """Every fault of a folder to submit, a line each. It must hold the images of `masks`, whose names alone count.

    Each must be a JPEG in RGB of `size`, of quality 90 or more, and there must be no others.
    Raises InputError where the folder cannot be listed.
    """
    folder = OutputFolder(out)
    strays = folder.stray_images(mask.stem for mask in masks)
    paths = [folder.image(mask.stem) for mask in masks]
    faults = [_fault(path, size) for path in tqdm(paths, desc="checking images", delay=2)]
    return [fault for fault in faults if fault] + strays


def _fault(path: Path, size: Size) -> str | None:
    fault = image_fault(path, size)
    if fault is None and (quality := read_jpeg_quality(path)) < MIN_QUALITY:
        return f"{path}: JPEG quality about {quality}, must be at least {MIN_QUALITY}"
    return fault


def pack(out: str | os.PathLike, masks: Sequence[Path]) -> Path:
    """Write the images of `masks` as OUT.zip beside the folder, atomically; returns its path.

    The same images make the same bytes: sorted names, one date, one mode, no compression (a JPEG has its own).
    Raises OSError where it cannot be written.
    """
    folder = Path(os.path.abspath(out))
    target = folder.with_name(f"{folder.name}.zip")
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder / f"{mask.stem}.jpg" for mask in masks):
            entry = zipfile.ZipInfo(path.name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # Unix, a plain file all may read
            archive.writestr(entry, path.read_bytes())
    return target


def rank(out: str | os.PathLike, masks: Sequence[Path]) -> tuple[list[str], str]:
    """The images' stems, best first, and the rule that ranks them.

    With scores in the folder the rule is `scorecard.value`. Without scores it is the size of the file, since at one
    JPEG quality more bytes are more detail. Equals go by name. Raises InputError for scores of other images.
    """
    stems = sorted(mask.stem for mask in masks)
    if not (Path(out) / RUN_FOLDER / scorecard.FILE).exists():
        sizes = {stem: (Path(out) / f"{stem}.jpg").stat().st_size for stem in stems}
        return sorted(stems, key=lambda stem: -sizes[stem]), "largest file, for want of scores (`jiidm score`)"
    images = scorecard.load(out)["images"]
    if set(images) != set(stems):
        raise InputError(
            f"{out}: its scores are of {len(images)} images, not of these {len(stems)}; `jiidm score` again"
        )
    aesthetic = all("A" in image for image in images.values())
    rule = "M (0.2 A + 0.3 (50 + S / 2))" if aesthetic else "M (50 + S / 2)"
    return sorted(stems, key=lambda stem: -scorecard.value(images[stem])), f"highest {rule}"


def select(out: str | os.PathLike, stems: Sequence[str]) -> Path:
    """Copy the images of `stems` to OUT/selects/, in place of those selected before. Returns the folder.

    Raises OSError where it cannot be written.
    """
    folder = Path(out) / SELECTED
    folder.mkdir(exist_ok=True)
    for earlier in folder.glob("*.jpg"):
        earlier.unlink()
    for stem in stems:
        with atomic_path(folder / f"{stem}.jpg") as temporary:
            shutil.copyfile(Path(out) / f"{stem}.jpg", temporary)
    return folder
