"""The page of an output folder, OUT/_run/report.html: its images on their way, and its scores if there are any."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jiidm.classes import colorize
from jiidm.data.images import load_image, load_mask, read_size, resize_image, resize_mask
from jiidm.errors import InputError
from jiidm.inference import scorecard
from jiidm.inference.folder import ROUNDS, RUN_FOLDER, STARTS, OutputFolder
from jiidm.inference.inputs import Job
from jiidm.report import html
from jiidm.report.plots import plot_distributions
from jiidm.size import Size
from ldm_jittor.files import read_text

FILE = "report.html"
SHOWN, BEST = 24, 3
"""Images whose way is shown, and images at either end of a score."""
WIDTH = 384

Inputs = Mapping[str, tuple[Path, Path]]
"""Mask and reference by the image's stem."""


def write_report(out: Path, jobs: Sequence[Job] = ()) -> Path:
    """Write the page and return its path. Without `jobs` it has the masks and references that the folder has noted.

    Raises InputError for a folder without images, and for scores that do not belong to the images.
    """
    folder = OutputFolder(out)
    stems = sorted(path.stem for path in out.glob("*.jpg") if path.name[0] != ".")
    if not stems:
        raise InputError(f"{out}: no images, <mask>.jpg, to report on")
    inputs = {job.stem: (job.mask, job.reference) for job in jobs} or folder.noted_inputs()
    card = scorecard.load(out) if (folder.run_folder / scorecard.FILE).exists() else None
    sections = [*_scores(card, folder, inputs), _images(stems, folder, inputs), *_settings(folder)]
    counted = f"{len(stems)} image{'s' if len(stems) != 1 else ''}, {read_size(folder.image(stems[0]))}"
    folder.run_folder.mkdir(exist_ok=True)
    return html.write_page(folder.run_folder / FILE, out.resolve().name, counted, sections)


def _scores(card: dict[str, Any] | None, folder: OutputFolder, inputs: Inputs) -> list[html.Block]:
    if card is None:
        return [html.section("Scores", html.paragraph(f"None yet. `jiidm score {folder} ...` takes them."))]
    scores = {name: _cell(name, card) for name in scorecard.COLUMNS if name in card["scores"]}
    absent = [html.paragraph(f"{name} is absent: {reason}.") for name, reason in card["absent"].items()]
    warnings = [html.paragraph(f"Warning: {warning}.") for warning in card["warnings"]]
    images = card["images"]
    values = {name: [image[name] for image in images.values()] for name in next(iter(images.values()))}
    with tempfile.TemporaryDirectory() as temporary:
        picture = Path(temporary) / "distributions.png"
        plot_distributions(values, picture)
        distributions = html.figure(picture, f"each score over the {len(images)} images", plot=True)
    return [
        html.section("Scores", html.tiles(scores), html.paragraph(card["units"]), *absent, *warnings, distributions),
        *(_ends(name, images, folder, inputs) for name in values),
    ]


def _cell(name: str, card: dict[str, Any]) -> str:
    """A score, with its interval if it has one."""
    value, interval = f"{card['scores'][name]:.2f}", card.get("intervals", {}).get(name)
    return f"{value} [{', '.join(f'{end:.2f}' for end in interval)}]" if interval else value


def _ends(score: str, images: Mapping[str, Mapping[str, float]], folder: OutputFolder, inputs: Inputs) -> html.Block:
    """The images with the best and the worst of a score."""
    ranked = sorted(images, key=lambda stem: -images[stem][score])
    count = min(BEST, len(ranked) // 2) or 1

    def rows(stems: Sequence[str]) -> html.Block:
        captions = [f"{stem}: {score} {images[stem][score]:.2f}" for stem in stems]
        return html.grid(html.row(_beside(stem, folder, inputs), text) for stem, text in zip(stems, captions))

    best, worst = ranked[:count], ranked[::-1][:count]
    return html.section(
        f"Best and worst by {score}", html.heading("best"), rows(best), html.heading("worst"), rows(worst)
    )


def _beside(stem: str, folder: OutputFolder, inputs: Inputs) -> list[tuple[str, np.ndarray]]:
    """Reference, mask and result at the result's size, as far as they are known."""
    result = load_image(folder.image(stem))
    return [*_given(stem, inputs, Size(*result.shape[:2])), ("result", result)]


def _given(stem: str, inputs: Inputs, size: Size) -> list[tuple[str, np.ndarray]]:
    if stem not in inputs:
        return []
    mask, reference = inputs[stem]
    return [
        ("reference", resize_image(load_image(reference), size)),
        ("mask", colorize(resize_mask(load_mask(mask), size))),
    ]


def _images(stems: Sequence[str], folder: OutputFolder, inputs: Inputs) -> html.Block:
    """Sliders from the reference over mask, noisy start and rounds to the result."""
    traced = [stem for stem in stems if (folder.run_folder / STARTS / f"{stem}.jpg").exists()] or list(stems)
    shown = traced[:SHOWN]
    told = f"The first {len(shown)} of {len(stems)} images. " if len(shown) < len(stems) else ""
    missing = "" if any(stem in inputs for stem in shown) else " Masks and references: give --masks and --refs."
    ways = [html.slider(_way(stem, folder, inputs), f"stages of {stem}", WIDTH) for stem in shown]
    labelled = [html.heading(stem) + way for stem, way in zip(shown, ways)]
    intro = html.paragraph(f"{told}Move a slider from what was given to the result.{missing}")
    return html.section("From reference to result", intro, html.grid(f"<div>{each}</div>" for each in labelled))


def _way(stem: str, folder: OutputFolder, inputs: Inputs) -> list[tuple[str, np.ndarray]]:
    result = load_image(folder.image(stem))
    size = Size(*result.shape[:2])
    start = folder.run_folder / STARTS / f"{stem}.jpg"
    rounds = [(n, folder.run_folder / ROUNDS / f"{stem}.{n}.jpg") for n in range(1, 10)]
    steps = [("noisy start", start), *((f"after round {number}", path) for number, path in rounds)]
    between = [(name, resize_image(load_image(path), size)) for name, path in steps if path.exists()]
    return [*_given(stem, inputs, size), *between, ("result", result)]


def _settings(folder: OutputFolder) -> list[html.Block]:
    files = [(name, folder.run_folder / name) for name in ("config.yaml", "manifest.json")]
    blocks = [html.details(name, html.code(read_text(path))) for name, path in files if path.exists()]
    return [html.section("Made by", *blocks)] if blocks else []


def default_path(out: Path) -> Path:
    return out / RUN_FOLDER / FILE
