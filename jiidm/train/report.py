"""The page of a training run, RUN/report.html: curves, sample sheets over time, checkpoints, config, environment."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jiidm.errors import InputError
from jiidm.model.files import MODEL_FILE
from jiidm.report import html
from jiidm.report.plots import plot_losses, plot_terms
from jiidm.train.checkpoints import ranked, read_distances
from jiidm.train.segmenter import SEGMENTER_FILE
from jiidm.train.settings import CONFIG_FILE, read_history
from ldm_jittor import checkpoint
from ldm_jittor.files import read_text

FILE = "report.html"
MOST_SHEETS = 40
_STEP = re.compile(r"step_(\d+)\.png")


def write_report(folder: Path) -> Path:
    """Write the page of a run, finished or not, and return its path.

    Raises InputError for a folder that is no run, and for damaged files in it, CheckpointError for a damaged model.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(f"{folder}: no {CONFIG_FILE}, so no training run")
    model = next((folder / name for name in (MODEL_FILE, SEGMENTER_FILE) if (folder / name).exists()), None)
    provenance = checkpoint.load_metadata(model).get("provenance", {}) if model else {}
    sections = [
        *_curves(folder),
        *_sheets(folder),
        *_checkpoints(folder),
        *_environment(provenance),
        _config(folder),
    ]
    state = f"finished: {model.name}" if model else "not finished"
    return html.write_page(folder / FILE, f"Training run {folder.resolve().name}", state, sections)


def _curves(folder: Path) -> list[html.Block]:
    sections = []
    for log in sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True):
        with tempfile.TemporaryDirectory() as temporary:
            losses, terms = Path(temporary) / "losses.png", Path(temporary) / "terms.png"
            try:
                plot_losses(log, losses)
            except InputError:  # a log that has no losses yet
                continue
            blocks = [html.figure(losses, f"{log.name}: losses, and distances where they were taken", plot=True)]
            if plot_terms(log, terms):
                blocks.append(html.details("the parts of the loss", html.figure(terms, "each part", plot=True)))
        sections.append(html.section(f"Curves: {log.stem}", *blocks))
    return sections


def _sheets(folder: Path) -> list[html.Block]:
    """Sheets of the same images at the steps that were saved, evenly chosen where there are many."""
    sheets = [
        (int(found[1]), path) for path in sorted(folder.glob("samples/*.png")) if (found := _STEP.match(path.name))
    ]
    blocks = []
    if sheets:
        blocks.append(html.slider([(f"step {step}", path) for step, path in _evenly(sheets)], "training step"))
    reconstructions = folder / "reconstructions.png"
    if reconstructions.is_file():
        blocks.append(html.details("reconstructions", html.figure(reconstructions, "the autoencoder's own")))
    return [html.section("Samples over time", *blocks)] if blocks else []


def _evenly(sheets: Sequence[tuple[int, Path]]) -> list[tuple[int, Path]]:
    count = min(MOST_SHEETS, len(sheets))
    return [sheets[round(i * (len(sheets) - 1) / max(1, count - 1))] for i in range(count)]


def _checkpoints(folder: Path) -> list[html.Block]:
    entries = ranked(folder)
    if not entries:
        return []
    score = read_distances(folder)[0]
    rows = [
        (number, entry.step, entry.distance, entry.path.name if entry.path.is_file() else "not kept")
        for number, entry in enumerate(entries, start=1)
    ]
    told = f"{score['score']} of {score['images']} validation images to their photos; smaller is better."
    return [
        html.section("Checkpoints", html.paragraph(told), html.table(rows, ("rank", "step", score["score"], "file")))
    ]


def _environment(provenance: Mapping[str, Any]) -> list[html.Block]:
    if not provenance:
        return []
    plain = [
        (key.replace("_", " "), str(value)) for key, value in provenance.items() if isinstance(value, (str, int, float))
    ]
    listed = [
        (key.replace("_", " "), ", ".join(map(_told, value)))
        for key, value in provenance.items()
        if isinstance(value, list)
    ]
    return [html.section("Data and environment", html.table([*plain, *listed], ("what", "value")))]


def _told(entry: Any) -> str:
    return " ".join(f"{key} {value}" for key, value in entry.items()) if isinstance(entry, dict) else str(entry)


def _config(folder: Path) -> html.Block:
    changes = [
        (change["step"], key, str(old), str(new))
        for change in read_history(folder)
        for key, (old, new) in change["changed"].items()
    ]
    history = [html.heading("changed on the way"), html.table(changes, ("step", "setting", "before", "since"))]
    text = html.details(CONFIG_FILE, html.code(read_text(folder / CONFIG_FILE)))
    return html.section("Config", text, *(history if changes else []))
