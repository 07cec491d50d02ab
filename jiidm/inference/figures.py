"""The paper's Figures 3, 4 and 7 of an output folder's first masks, in its _run.

They show what each round and each colour transfer does, and the model at larger sizes. The contact sheet has Figure 2's
noisy start.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jiidm.classes import colorize
from jiidm.inference.folder import OutputFolder
from jiidm.inference.inputs import Job
from jiidm.report.sheets import contact_sheet, sample_grid
from jiidm.size import Size
from jiidm.system.progress import StepBar

if TYPE_CHECKING:
    from jiidm.config.schema import Config
    from jiidm.pipeline import Pipeline, Result

logger = logging.getLogger(__name__)

MASKS, LARGE_MASKS = 4, 2
"""How many masks Figures 3 and 4 show, and Figure 7, which costs up to four times as much for each."""
FACTORS = (1.5, 2.0)
"""Figure 7's sizes, over the model's."""


def draw_figures(
    folder: OutputFolder, jobs: Sequence[Job], pipeline: Pipeline, *, seed: int, **options: Any
) -> list[Path]:
    """Generate the first masks again and draw the figures. Returns the files.

    `seed` and `options` are those of the images, and so are the images of Figures 3 and 4. Raises InputError as
    `Pipeline.stream` does.
    """
    shown = {job.stem for job in jobs[:MASKS]}
    results = list(_generate(pipeline, jobs, "figures 3 and 4", seed=seed, wanted=shown, **options))
    written = [folder.run_folder / "figure3.jpg"]
    count = len(pipeline.config.inference.rounds)
    rows = [[r.reference, colorize(r.mask), *(made.image for made in r.rounds or ())] for r in results]
    captions = ["reference", "mask", *(f"round {number}" for number in range(1, count + 1))]
    contact_sheet(rows, written[0], captions, [result.name for result in results])
    written += _draw_transfers(folder.run_folder / "figure4.jpg", results, pipeline.config)
    for size in larger_sizes(pipeline.config):
        found = _generate(pipeline.at(size), jobs[:LARGE_MASKS], f"figure 7, {size}", seed=seed, **options)
        written.append(folder.run_folder / f"figure7_{size}.jpg")
        sample_grid([x for r in found for x in (r.reference, colorize(r.mask), r.image)], written[-1], columns=3)
    return written


def _draw_transfers(path: Path, results: Sequence[Result], config: Config) -> list[Path]:
    """The images before and after each colour transfer, beside the reference that gives the colours."""
    numbers = [number for number, round_ in enumerate(config.inference.rounds) if round_.color_transfer]
    if not numbers:
        logger.info("figure 4 is not drawn: no round of %s has colour transfer", config.name)
        return []
    rows = []
    for result in results:
        transfers = [made.transfer for made in result.rounds or () if made.transfer]
        rows.append([result.reference, *(image for transfer in transfers for image in transfer)])
    captions = ["reference"]
    for number in numbers:
        captions += [f"before transfer, round {number + 1}", "after it"]
    contact_sheet(rows, path, captions, [result.name for result in results])
    return [path]


def larger_sizes(config: Config) -> list[Size]:
    """The sizes of Figure 7: so much larger than the model's, rounded up to what its networks can halve."""
    unit = config.autoencoder.downsample * 2 ** (len(config.unet.channel_mult) - 1)
    return [Size(*(unit * math.ceil(factor * side / unit) for side in config.data.size)) for factor in FACTORS]


def _generate(
    pipeline: Pipeline, jobs: Sequence[Job], what: str, wanted: Container[str] | None = None, **options: Any
) -> Iterator[Result]:
    from jiidm.pipeline import Input

    inputs = [Input(job.stem, job.mask, job.reference) for job in jobs]
    with StepBar(total=pipeline.num_passes(inputs, wanted=wanted), desc=what, unit="pass") as progress:
        yield from pipeline.stream(inputs, wanted=wanted, show_rounds=True, on_step=progress.update, **options)
