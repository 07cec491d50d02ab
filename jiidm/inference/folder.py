"""The output folder: `<mask stem>.jpg` for every mask, the run's own files in `_run/`, nothing else."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jiidm.config.load import to_yaml
from jiidm.config.schema import Config
from jiidm.data.folders import list_folder
from jiidm.data.identity import differing, renewed, require_same
from jiidm.data.images import open_image, orientation, save_jpeg
from jiidm.errors import InputError
from jiidm.inference.inputs import Job
from ldm_jittor.files import atomic_path, leftovers, read_json

logger = logging.getLogger(__name__)

RUN_FOLDER = "_run"
MANIFEST = "manifest.json"
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


class OutputFolder:
    """A folder of outputs, whose images were all made by the same thing."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.run_folder = self.path / RUN_FOLDER

    def __str__(self) -> str:
        return str(self.path)

    def image(self, stem: str) -> Path:
        """Where the image of a mask lies."""
        return self.path / f"{stem}.jpg"

    def prepare(self) -> None:
        """Create the folder and its `_run`, and see that both can be listed and written.

        Temporary files that no process will finish are removed. Raises InputError where a file is in the way or the
        permissions do not allow it.
        """
        try:
            self.run_folder.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.run_folder):
                os.listdir(folder)
                tempfile.TemporaryFile(dir=folder).close()
                for leftover in leftovers(folder):
                    leftover.unlink(missing_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{self}: cannot be the output folder, a file is in the way") from error
        except OSError as error:
            raise InputError(f"{self}: cannot be used as output folder ({error.strerror})") from error

    def claim(self, identity: Mapping[str, Any], jobs: Sequence[Job], repaint: bool = False) -> None:
        """Prepare the folder for images of `jobs` that are made by `identity`, see `jiidm.data.identity.made_by`.

        Raises InputError where it holds images that belong to no mask, or that were made by something else. With
        `repaint` the latter are removed instead.
        """
        self.prepare()
        refuse_first(self.stray_images(job.stem for job in jobs))
        before = self._made_by()
        if before is None:
            return
        changed = differing(before, identity)
        if changed and repaint:
            logger.info("%s holds images made with %s: generating them again", self, changed[0])
            for job in jobs:
                self.image(job.stem).unlink(missing_ok=True)
        else:
            require_same(self.path, before, identity, "choose another output folder")

    def _made_by(self) -> dict[str, Any] | None:
        """What the manifest says of the images here; None where there is no manifest."""
        path = self.run_folder / MANIFEST
        if not path.exists():
            return None
        try:
            return renewed(read_json(path)["made_by"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}: not a manifest of this kit; choose another output folder") from None

    def write_manifest(self, identity: Mapping[str, Any], model_file: Path, config: Config) -> None:
        """Write what makes the images as `_run/manifest.json`, and the config as `_run/config.yaml`."""
        manifest = {"made_by": identity, "model_file": str(model_file)}
        texts = {MANIFEST: json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "config.yaml": to_yaml(config)}
        for name, text in texts.items():
            with atomic_path(self.run_folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # JSON's own escapes

    def pending(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs without a finished image. A missing, damaged or differently sized one is made again."""
        return [job for job in tqdm(jobs, desc="looking for finished images", delay=2) if self._fault(job)]

    def write(self, stem: str, image: np.ndarray, quality: int = 95) -> None:
        """Write uint8 RGB [H,W,3] as the image of a mask, atomically."""
        save_jpeg(self.image(stem), image, quality)

    def faults(self, jobs: Sequence[Job]) -> list[str]:
        """A line for every fault of the finished folder; an empty list means ready to submit.

        Faults are missing, undecodable, non-JPEG, non-RGB and wrongly sized images, and those that belong to no mask.
        Raises InputError where the folder cannot be listed.
        """
        found = [self._fault(job) for job in tqdm(jobs, desc="checking outputs", delay=2)]
        return [fault for fault in found if fault] + self.stray_images(job.stem for job in jobs)

    def stray_images(self, stems: Iterable[str]) -> list[str]:
        """A line for every image here that belongs to none of `stems`. Raises InputError as `faults` does."""
        expected = {self.image(stem).name for stem in stems}
        try:
            images = [path for path in list_folder(self.path) if path.suffix.lower() in _IMAGE_SUFFIXES]
        except OSError as error:
            raise InputError(f"{self}: cannot be listed ({error.strerror})") from error
        return [f"{path}: an image that belongs to no mask" for path in images if path.name not in expected]

    def _fault(self, job: Job) -> str | None:
        return image_fault(self.image(job.stem), job.size)


def image_fault(path: Path, size: tuple[int, int]) -> str | None:
    """The reason why a file is no upright JPEG in RGB of `size` (width, height) that decodes to its end, or None."""
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


def refuse_first(faults: Sequence[str]) -> None:
    """Raises InputError for the first of some faults, if there are any, and tells how many more there are."""
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InputError(f"{faults[0]}{more}")
