"""Masks and references in, submission folder out. Everything that can be wrong is found before any sampling."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from jiidm.classes import colorize
from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.data.images import load_image, load_mask, read_size, resize_image, save_jpeg, warn_of_palettes
from jiidm.data.references import find_masks, load_references
from jiidm.data.synthetic.dataset import write_dataset
from jiidm.errors import InputError
from jiidm.inference import folder as submission
from jiidm.report.sheets import contact_sheet
from ldm_jittor.files import atomic_path

if TYPE_CHECKING:
    from jiidm.pipeline import Hooks

SHEET_ROWS = 32
DEMO_IMAGES = 8
DEMO_SEED = 2024
"""Not the seed of any training run: the demo's masks have never been trained on."""


@dataclass(frozen=True)
class Job:
    """One image to make."""

    mask: Path
    reference: Path

    @property
    def stem(self) -> str:
        return self.mask.stem


def write_demo_inputs(out: Path, size: tuple[int, int]) -> tuple[Path, Path]:
    """Generate masks, photos and a references JSON that gives each mask another mask's photo, in `out`/_run.

    Returns the masks' folder and the JSON. Raises InputError when `out` cannot be an output folder.
    """
    folder = submission.prepare(out) / f"inputs_{size[0]}x{size[1]}"
    write_dataset(folder, DEMO_IMAGES, size, seed=DEMO_SEED)
    masks = find_masks(folder / "labels")
    references = {mask.name: f"{other.stem}.jpg" for mask, other in zip(masks, [*masks[1:], masks[0]])}
    path = folder / "references.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(references, indent=1), encoding="utf-8")
    return folder / "labels", path


def check_inputs(masks: Path, references: Path, data_root: Path | None) -> list[Job]:
    """Pair masks with references and decode every file once. Raises InputError for the first that is wrong."""
    paths = find_masks(masks)
    images = load_references(references, paths, data_root)
    jobs = [Job(path, images[path.stem]) for path in paths]
    warn_of_palettes(paths)
    for job in tqdm(jobs, desc="checking masks and references", delay=2):
        load_mask(job.mask)
        load_image(job.reference)
    return jobs


def check_output(out: Path, jobs: Sequence[Job], identity: dict[str, Any], repaint: bool = False) -> None:
    """Prepare the output folder. Raises InputError when it holds images that belong to no mask, or that were made by
    another model or settings; the latter are removed instead with `repaint`."""
    run_folder = submission.prepare(out)
    _refuse_first(submission.stray_images(out, [job.mask for job in jobs]))
    path = run_folder / submission.MANIFEST
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["made_by"]
        changed = [key for key, value in identity.items() if before[key] != value]
    except (ValueError, KeyError, TypeError, OSError):
        raise InputError(f"{path}: not a manifest of this kit; choose another output folder") from None
    if changed and not repaint:
        raise InputError(f"{out}: holds images made with another {changed[0]}; choose another output folder")
    if changed:
        print(f"{out} holds images made with another {changed[0]}: painting them again")
        for job in jobs:
            (out / f"{job.stem}.jpg").unlink(missing_ok=True)


def _refuse_first(faults: list[str]) -> None:
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise InputError(f"{faults[0]}{more}")


def identity_of(model_hash: str, config: Config, seed: int) -> dict[str, Any]:
    """What decides the pixels of an output; kept in the manifest."""
    inference = configs.to_dict(config.inference)
    for key in ("batch_size", "modulation_memory", "fast_steps"):
        inference.pop(key)
    sections = {key: configs.to_dict(getattr(config, key)) for key in ("autoencoder", "unet", "schedule")}
    return {"model": model_hash, "seed": seed, "size": list(config.data.size), "inference": inference, **sections}


def infer(
    jobs: Sequence[Job],
    out: Path,
    model_path: Path,
    config: Config,
    seed: int,
    identity: dict,
    hooks: Hooks,
    from_noise: bool = False,
) -> int:
    """Make every missing image of `jobs` and report on the folder; returns how many were made.

    `hooks` and `from_noise` are those of `Pipeline.stream`.
    """
    missing = {mask.stem for mask in submission.pending([job.mask for job in jobs], out)}
    if not missing:
        print(f"nothing to do: all {len(jobs)} images are in {out}")
        return 0
    from jiidm.model.files import load_model
    from jiidm.pipeline import Input, Pipeline

    pipeline = Pipeline(load_model(model_path, config))
    inputs = [Input(job.stem, job.mask, job.reference) for job in jobs]
    manifest = {"made_by": identity, "model_file": model_path}
    submission.write_manifest(out, manifest)
    with atomic_path(out / submission.RUN_FOLDER / "config.yaml") as temporary:
        temporary.write_text(configs.to_yaml(config), encoding="utf-8")
    by_stem = {job.stem: job for job in jobs}
    shown = {job.stem for job in jobs[:SHEET_ROWS]}
    (out / submission.RUN_FOLDER / "starts").mkdir(exist_ok=True)
    steps = pipeline.num_steps(inputs, wanted=missing)
    with tqdm(total=steps, desc=f"painting {len(missing)} images", unit="step") as progress:
        for result in pipeline.stream(
            inputs,
            seed=seed,
            wanted=missing,
            show_starts=shown,
            from_noise=from_noise,
            hooks=hooks,
            on_step=progress.update,
        ):
            job = by_stem[result.name]
            if result.start is not None:
                save_jpeg(_start_path(out, job), result.start)
            full_size = resize_image(result.image, read_size(job.mask))
            submission.write(out, job.stem, full_size, config.inference.jpeg_quality)
    _finish(jobs, out)
    print(f"{len(missing)} images made, {len(jobs)} in {out}")
    return len(missing)


def _start_path(out: Path, job: Job) -> Path:
    return out / submission.RUN_FOLDER / "starts" / f"{job.stem}.jpg"


def _finish(jobs: Sequence[Job], out: Path) -> None:
    """Check the folder, then draw the contact sheet. Raises InputError for what a submission must not be."""
    _refuse_first(submission.check(out, [job.mask for job in jobs]))
    # a start is missing where an image outlived its _run folder
    shown = [job for job in jobs[:SHEET_ROWS] if _start_path(out, job).exists()]
    rows = []
    for job in shown:
        size = read_size(job.mask)
        start = load_image(_start_path(out, job), size)
        rows.append(
            [load_image(job.reference, size), colorize(load_mask(job.mask)), start, load_image(out / f"{job.stem}.jpg")]
        )
    if rows:
        sheet = out / submission.RUN_FOLDER / "contact_sheet.jpg"
        contact_sheet(rows, sheet, ["reference", "mask", "noisy start", "result"], [job.stem for job in shown])
