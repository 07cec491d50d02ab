"""The output folder: `<mask stem>.jpg` for every mask, the run's own files in `_run/`, nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from jiidm.config.load import to_yaml
from jiidm.config.schema import Config
from jiidm.data.folders import list_folder, require_distinct
from jiidm.data.identity import differing, renewed, require_same, sha256
from jiidm.data.images import open_image, orientation, save_jpeg
from jiidm.errors import InputError
from jiidm.inference.inputs import Job
from jiidm.size import Size
from ldm_jittor.files import atomic_path, read_json
from ldm_jittor.temporaries import leftovers

logger = logging.getLogger(__name__)

RUN_FOLDER = "_run"
MANIFEST, INPUTS = "manifest.json", "inputs.json"
STARTS, ROUNDS = "starts", "rounds"
"""The folders in _run that show the noisy starts, and what the rounds before the last made."""
CANDIDATES = "candidates"
"""The folder in _run that lists the candidates for each mask, see `candidates`."""
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


class OutputFolder:
    """A folder of outputs, whose images were all made by the same thing."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.run_folder = self.path / RUN_FOLDER
        self._checked: tuple[int, int] | None = None

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
            inner = [path for path in self.run_folder.iterdir() if path.is_dir()]
            for folder in (self.path, self.run_folder, *inner):
                for leftover in leftovers(folder):
                    leftover.unlink(missing_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InputError(f"{self}: cannot be the output folder, a file is in the way") from error
        except OSError as error:
            raise InputError(f"{self}: cannot be used as output folder ({error.strerror})") from error

    def claim(self, identity: Mapping[str, Any], jobs: Sequence[Job], remake: bool = False) -> None:
        """Prepare the folder for images of `jobs` that are made by `identity`, see `jiidm.data.identity.made_by`.

        Raises InputError where it holds images that belong to no mask, or that were made by something else, and where
        its file system takes the names of two jobs for one. With
        `remake` the latter are removed instead. Images of another mask or reference are removed in any case. Those
        of which nothing is recorded are kept, and that is said.
        """
        self.prepare()
        require_distinct(self.path, (job.stem for job in jobs))
        with self._claiming():
            self._claim(identity, jobs, remake)

    @contextlib.contextmanager
    def _claiming(self) -> Iterator[None]:
        """One process at a time claims: two could remove the outdated images, one of them when new ones are there."""
        handle = os.open(self.run_folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _claim(self, identity: Mapping[str, Any], jobs: Sequence[Job], remake: bool) -> None:
        refuse_first(self.stray_images(job.stem for job in jobs))
        manifest = self._manifest()
        before = manifest.get("made_by", identity)
        changed = differing(before, identity)
        if changed and remake:
            logger.info("%s holds images made with %s: generating them again", self, changed[0])
            for job in jobs:
                self.image(job.stem).unlink(missing_ok=True)
            (self.run_folder / MANIFEST).unlink(missing_ok=True)
            for made in (STARTS, ROUNDS, CANDIDATES):
                shutil.rmtree(self.run_folder / made, ignore_errors=True)
            return
        require_same(self.path, before, identity, "choose another output folder")
        made_from = manifest.get("made_from", {})
        self._claim_inputs(jobs, made_from)
        if manifest and made_from != _made_from(jobs):
            self._write_manifest(manifest | {"made_from": _made_from(jobs)})

    def _claim_inputs(self, jobs: Sequence[Job], made_from: Mapping[str, tuple[str, ...]]) -> None:
        """Remove the images that were made from other files than those of their jobs."""
        images = [job for job in jobs if self.image(job.stem).exists()]
        if unknown := [job for job in images if job.stem not in made_from]:
            told = f"{len(unknown)} images of unrecorded masks and references, the first {unknown[0].stem}.jpg"
            logger.info("%s holds %s: keeping them as they are", self, told)
        if changed := _outdated(images, made_from):
            first = changed[0]
            files = f"mask than {first.mask}", f"reference than {first.reference}", f"mask of {first.reference}"
            pairs = zip(files, made_from[first.stem], first.made_from)
            file = next(file for file, before, now in pairs if before != now)
            told = f"{len(changed)} images made with other files, the first, {first.stem}.jpg, with another {file}"
            logger.info("%s holds %s: generating them again", self, told)
        for job in changed:
            self.image(job.stem).unlink(missing_ok=True)

    def outdated(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs whose image was made from another mask or reference, as far as that is recorded."""
        return _outdated(jobs, self._manifest().get("made_from", {}))

    def made_by(self) -> dict[str, Any]:
        """What the images here were made by, see `jiidm.data.identity.made_by`; empty where nothing is recorded."""
        return self._manifest().get("made_by", {})

    def _manifest(self) -> dict[str, Any]:
        """What is recorded of the images here, by today's names; empty where there is no manifest."""
        path = self.run_folder / MANIFEST
        if not path.exists():
            return {}
        try:
            manifest = read_json(path)
            made_from = {stem: _hashes(entry) for stem, entry in manifest.get("made_from", {}).items()}
            return {**manifest, "made_by": renewed(manifest["made_by"]), "made_from": made_from}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}: not a manifest of this kit; choose another output folder") from None

    def write_manifest(
        self, identity: Mapping[str, Any], jobs: Sequence[Job], model_file: Path, config: Config
    ) -> None:
        """Write what makes the images as `_run/manifest.json`, and the config as `_run/config.yaml`.

        Several processes may do so at once. Raises InputError where another has claimed the folder, since `claim`, for
        images made by something else.
        """
        manifest = {"made_by": identity, "model_file": str(model_file), "made_from": _made_from(jobs)}
        try:
            self._write_manifest(manifest, replace=False)
        except FileExistsError:
            require_same(self.path, self._manifest().get("made_by", identity), identity, "choose another output folder")
            self._write_manifest(manifest)
        self._write_text("config.yaml", to_yaml(config))

    def note_inputs(self, jobs: Sequence[Job]) -> None:
        """Write where the masks and references lie, as `_run/inputs.json`, for reports."""
        found = {job.stem: [str(job.mask.resolve()), str(job.reference.resolve())] for job in jobs}
        self._write_text(INPUTS, json.dumps(found, indent=1, ensure_ascii=False) + "\n")

    def noted_inputs(self) -> dict[str, tuple[Path, Path]]:
        """Mask and reference by stem, as `note_inputs` has written them, if both are still what they were.

        Empty where nothing is noted. Raises InputError for a file that is no such note.
        """
        path, made_from = self.run_folder / INPUTS, self._manifest().get("made_from", {})
        if not path.exists():
            return {}
        try:
            noted = {stem: (Path(mask), Path(reference)) for stem, (mask, reference) in read_json(path).items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a note of masks and references ({error})") from None
        there = {stem: files for stem, files in noted.items() if all(file.is_file() for file in files)}
        return {s: files for s, files in there.items() if tuple(map(sha256, files)) == tuple(made_from.get(s, ())[:2])}

    def check_claim(self, identity: Mapping[str, Any], jobs: Sequence[Job]) -> None:
        """Raises InputError where another process has claimed the folder for other images since `write_manifest`."""
        path = self.run_folder / MANIFEST
        stamp = (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else (0, 0)
        if stamp == self._checked:
            return
        manifest = self._manifest()
        if not manifest or differing(manifest["made_by"], identity) or _outdated(jobs, manifest["made_from"]):
            raise InputError(f"{self}: another process makes other images here meanwhile; choose another output folder")
        self._checked = stamp

    def _write_manifest(self, manifest: Mapping[str, Any], replace: bool = True) -> None:
        self._write_text(MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", replace)

    def _write_text(self, name: str, text: str, replace: bool = True) -> None:
        with atomic_path(self.run_folder / name, replace) as temporary:
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


def _outdated(jobs: Iterable[Job], made_from: Mapping[str, tuple[str, ...]]) -> list[Job]:
    """Those whose files differ from the recorded ones. Scoring does not know of the references' own masks."""
    recorded = [(job, made_from.get(job.stem, ())) for job in jobs]
    return [job for job, before in recorded if any(old != new for old, new in zip(before, job.made_from))]


def _hashes(entry: Any) -> tuple[str, ...]:
    """One image's record. Raises ValueError for anything else."""
    if not isinstance(entry, list) or len(entry) not in (2, 3) or not all(isinstance(item, str) for item in entry):
        raise ValueError("not the record of an image")
    return tuple(entry)


def _made_from(jobs: Iterable[Job]) -> dict[str, tuple[str, ...]]:
    return {job.stem: job.made_from for job in jobs}


def image_fault(path: Path, size: Size) -> str | None:
    """The reason why a file is no upright JPEG in RGB of `size` that decodes to its end, or None."""
    try:
        with open_image(path, ("JPEG",)) as image:
            image.load()
            turned = orientation(image)
    except InputError as error:
        return str(error)
    if image.mode != "RGB":
        return f"{path}: mode {image.mode}, not RGB"
    if image.size != size[::-1]:
        return f"{path}: size {image.width}x{image.height}, must be {size}"
    if turned != 1:
        return f"{path}: turned by EXIF orientation {turned}, must be upright"
    return None


def refuse_first(faults: Sequence[str]) -> None:
    """Raises InputError for the first of some faults, if there are any, and tells how many more there are."""
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InputError(f"{faults[0]}{more}")
