"""From checked masks and references to a finished output folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jiidm.classes import colorize
from jiidm.data.images import load_image, load_mask, resize_image, save_jpeg
from jiidm.inference.folder import OutputFolder, refuse_first
from jiidm.inference.inputs import Job
from jiidm.report.sheets import contact_sheet
from jiidm.system.progress import StepBar

if TYPE_CHECKING:
    from jiidm.pipeline import Hooks, Pipeline

logger = logging.getLogger(__name__)

SHEET, SHEET_ROWS = "contact_sheet.jpg", 32
CAPTIONS = ("reference", "mask", "noisy start", "result")


def generate_images(
    folder: OutputFolder,
    jobs: Sequence[Job],
    load_pipeline: Callable[[], Pipeline],
    model_path: Path,
    identity: Mapping[str, Any],
    *,
    seed: int,
    hooks: Hooks,
    from_noise: bool = False,
) -> int:
    """Make every missing image of `jobs` in a folder that `identity` has claimed; returns how many were made.

    load_pipeline: is called if an image is missing; it loads the model of `model_path`. `seed`, `hooks` and
    `from_noise` are those of `Pipeline.stream`. Raises InputError for a file that changes meanwhile, for a folder
    that another process uses for other images, and for a finished folder that is not fit to submit.
    """
    missing = {job.stem: job for job in folder.pending(jobs)}
    if not missing:
        logger.info("nothing to do: all %d images are in %s", len(jobs), folder)
        if not (folder.run_folder / SHEET).exists():  # an earlier call stopped before it drew the sheet
            _draw_sheet(folder, jobs[:SHEET_ROWS], {})
        return 0
    pipeline = load_pipeline()
    from jiidm.pipeline import Input

    config = pipeline.config
    folder.write_manifest(identity, jobs, model_path, config)
    starts = folder.run_folder / "starts"
    starts.mkdir(exist_ok=True)
    shown = {job.stem for job in jobs[:SHEET_ROWS]}
    inputs = [Input(job.stem, job.mask, job.reference) for job in jobs]
    rows = {}
    steps = pipeline.num_steps(inputs, wanted=missing)
    with StepBar(total=steps, desc=f"generating {len(missing)} images", unit="step") as progress:
        for result in pipeline.stream(
            inputs,
            seed=seed,
            wanted=missing,
            show_starts=shown,
            from_noise=from_noise,
            hooks=hooks,
            on_step=progress.update,
        ):
            missing[result.name].check_unchanged()  # the files were read after they were checked
            folder.check_claim(identity, jobs)
            image = resize_image(result.image, missing[result.name].size)
            if result.start is not None:
                save_jpeg(starts / f"{result.name}.jpg", result.start)
                rows[result.name] = [result.reference, colorize(result.mask), result.start, result.image]
            folder.write(result.name, image, config.inference.jpeg_quality)
    refuse_first(folder.faults(jobs))
    _draw_sheet(folder, jobs[:SHEET_ROWS], rows)
    logger.info("%d images made, %d in %s", len(missing), len(jobs), folder)
    return len(missing)


def _draw_sheet(folder: OutputFolder, jobs: Sequence[Job], rows: Mapping[str, list[np.ndarray]]) -> None:
    """Draw `_run/contact_sheet.jpg`. Rows that this call has not generated come from the files of earlier calls."""
    drawn = {}
    for job in jobs:
        path = folder.run_folder / "starts" / f"{job.stem}.jpg"
        if job.stem in rows:
            drawn[job.stem] = rows[job.stem]
        elif path.exists():  # missing where an image outlived its _run folder
            start = load_image(path)
            height, width = start.shape[:2]
            reference, result = (load_image(file, (width, height)) for file in (job.reference, folder.image(job.stem)))
            drawn[job.stem] = [reference, colorize(load_mask(job.mask, (width, height))), start, result]
    if drawn:
        contact_sheet(list(drawn.values()), folder.run_folder / SHEET, CAPTIONS, list(drawn))
