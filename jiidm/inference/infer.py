"""From checked masks and references to a finished output folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from jiidm.classes import colorize
from jiidm.data.images import load_image, load_mask, resize_image, save_jpeg
from jiidm.errors import InputError
from jiidm.inference.folder import ROUNDS, STARTS, OutputFolder, refuse_first
from jiidm.inference.inputs import Job
from jiidm.report.sheets import contact_sheet
from jiidm.size import Size
from jiidm.system.progress import StepBar
from jiidm.system.shards import WHOLE, Shard

if TYPE_CHECKING:
    from jiidm.config.schema import Config
    from jiidm.pipeline import Input, Result

logger = logging.getLogger(__name__)

SHEET, SHEET_ROWS = "contact_sheet.jpg", 32
CAPTIONS = ("reference", "mask", "result")
CAPTIONS_WITH_START = ("reference", "mask", "noisy start", "result")


class Generates(Protocol):
    """What makes images from masks and references: `jiidm.pipeline.Pipeline`, or a GAN's pipeline."""

    config: Config

    @property
    def batch_size(self) -> int: ...

    def num_passes(self, inputs: Sequence[Input], *, wanted: Container[str] | None = None) -> int: ...

    @property
    def stream(self) -> Callable[..., Iterator[Result]]: ...


def generate_images(
    folder: OutputFolder,
    jobs: Sequence[Job],
    load_pipeline: Callable[[], Generates],
    model_path: Path,
    identity: Mapping[str, Any],
    *,
    seed: int,
    shard: Shard = WHOLE,
    **options: Any,
) -> int:
    """Make every missing image of a shard of `jobs` in a folder that `identity` has claimed; returns how many it made.

    A shard takes whole batches, because an image depends on its batch in the last digits. The shard that completes the
    folder checks it and draws the contact sheet.
    load_pipeline: is called if an image is missing; it loads the model of `model_path`. `seed` and `options`
    are those of its `stream`. Raises InputError for a file that changes meanwhile, for a folder that another process
    uses for other images, and for a finished folder that is not fit to submit.
    """
    pending = folder.pending(jobs)
    if not pending:
        part = f"{shard}: " if shard.count > 1 else ""
        logger.info("%snothing to do: all %d images are in %s", part, len(jobs), folder)
        if not (folder.run_folder / SHEET).exists():  # an earlier call stopped before it drew the sheet
            _draw_sheet(folder, jobs[:SHEET_ROWS], {}, identity)
        return 0
    pipeline = load_pipeline()
    from jiidm.pipeline import Input, batches

    config = pipeline.config
    inputs = [Input(job.stem, job.mask, job.reference) for job in jobs]
    own = {input_.name for batch in shard.of(batches(inputs, pipeline.batch_size, None)) for input_ in batch}
    missing = {job.stem: job for job in pending if job.stem in own}
    folder.write_manifest(identity, jobs, model_path, config)
    folder.note_inputs(jobs)
    starts, rounds = folder.run_folder / STARTS, folder.run_folder / ROUNDS
    if not config.is_gan:
        for made in (starts, rounds):
            made.mkdir(exist_ok=True)
        options = {"show_rounds": True, **options}
    shown = {job.stem for job in jobs[:SHEET_ROWS]}
    seen = {}
    passes = pipeline.num_passes(inputs, wanted=missing)
    with StepBar(total=passes, desc=f"generating {len(missing)} images", unit="pass") as progress:
        for result in pipeline.stream(
            inputs,
            seed=seed,
            wanted=missing,
            show_starts=shown,
            on_step=progress.update,
            **options,
        ):
            missing[result.name].check_unchanged()  # the files were read after they were checked
            folder.check_claim(identity, jobs)
            image = resize_image(result.image, missing[result.name].size)
            if result.name in shown:
                seen[result.name] = result.reference, colorize(result.mask)
            if result.start is not None:
                save_jpeg(starts / f"{result.name}.jpg", result.start)
                for number, earlier in enumerate((result.rounds or ())[:-1], start=1):
                    save_jpeg(rounds / f"{result.name}.{number}.jpg", earlier.image)
            folder.write(result.name, image, config.inference.jpeg_quality)
    if shard.count > 1:
        left = len(folder.pending(jobs))
        logger.info("%s: %d images made; %d of %d are in %s", shard, len(missing), len(jobs) - left, len(jobs), folder)
        if left:  # for the other shards
            return len(missing)
    refuse_first(folder.faults(jobs))
    _draw_sheet(folder, jobs[:SHEET_ROWS], seen, identity)
    logger.info("%d images made, %d in %s", len(missing), len(jobs), folder)
    return len(missing)


def _draw_sheet(
    folder: OutputFolder,
    jobs: Sequence[Job],
    seen: Mapping[str, tuple[np.ndarray, np.ndarray]],
    identity: Mapping[str, Any],
) -> None:
    """Draw `_run/contact_sheet.jpg` from the files, so that it is the same however often a call was interrupted.

    seen: references and coloured masks that need not be read again, of the model's size. GANs have no noisy starts.
    """
    with_starts, drawn = "method" not in identity, {}
    for job in jobs:
        starts = []
        if with_starts:
            try:
                starts = [load_image(folder.run_folder / STARTS / f"{job.stem}.jpg")]
            except InputError:  # where an image outlived its _run folder
                continue
        size = Size(*(starts[0].shape[:2] if starts else identity["size"][::-1]))
        if job.stem in seen:
            reference, mask = seen[job.stem]
        else:
            reference, mask = load_image(job.reference, size), colorize(load_mask(job.mask, size))
        drawn[job.stem] = [reference, mask, *starts, load_image(folder.image(job.stem), size)]
    if drawn:
        captions = CAPTIONS_WITH_START if with_starts else CAPTIONS
        contact_sheet(list(drawn.values()), folder.run_folder / SHEET, captions, list(drawn))
