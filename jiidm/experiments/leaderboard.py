"""One page beside the paper's Table 1: T with its parts, what is missing, what is unknown, and what all came from."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jiidm.evaluate.further import Measured
from jiidm.evaluate.metrics import total_score
from jiidm.experiments.orderings import PAPER_TABLE_1, SCORES
from jiidm.report import html
from ldm_jittor.files import atomic_path

OPTIONS = {
    "M": "--segmenter",
    "A": "--aesthetic (with --clip for LAION's)",
    "FID": "--inception and --real",
    "S": "--refs",
}
"""What fills an empty cell."""
UNKNOWN = (
    ("M", "the organisers' SegFormer: its size and weights; its 29 classes have the names of ADE20K's"),
    ("A", "the organisers' aesthetic model, and how its rating becomes a share of 1"),
    ("FID", "how images reach Inception's size, and which training images it compares with"),
    ("S", "the bins of the colour histograms, and which correlation"),
    ("T", "the board's T also has a vote of experts on three images, which no program counts"),
)
JSON_FILE, PAGE = "leaderboard.json", "leaderboard.html"


def write_leaderboard(
    out: Path,
    card: Mapping[str, Any],
    measured: Mapping[str, Measured],
    model: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> tuple[Path, Path]:
    """Write `out`/_run/leaderboard.json and .html of a score card; returns both paths.

    model: what made the images, as the manifest records it. seconds: how long each stage took.
    Raises OSError where they cannot be written.
    """
    folder = out / "_run"
    record = {
        "scores": {name: _score(name, card, measured) for name in SCORES},
        "further": {name: _score(name, card, measured) for name in measured if name not in SCORES},
        "paper_table_1": {name: dict(zip(SCORES, row)) for name, row in PAPER_TABLE_1.items()},
        "paper_t_recomputed": {name: round(total_score(*row[:4]), 2) for name, row in PAPER_TABLE_1.items()},
        "unknown_of_the_organisers": dict(UNKNOWN),
        "warnings": card["warnings"],
        "seconds": dict(seconds),
        "made_by": dict(model),
        "made_with": card["made_with"],
        "outputs": card["outputs"],
        "machine": {"system": platform.platform(), "python": platform.python_version()},
    }
    paths = folder / JSON_FILE, folder / PAGE
    with atomic_path(paths[0]) as temporary:
        temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    html.write_page(paths[1], "Scores beside the paper's Table 1", out.resolve().name, _sections(record, card, folder))
    return paths


def _score(name: str, card: Mapping[str, Any], measured: Mapping[str, Measured]) -> dict[str, Any]:
    if name in measured:
        found = measured[name]
        return {"value": round(found.value, 6), "interval": card["intervals"].get(name), "of": found.of}
    missing = [OPTIONS[part] for part in SCORES[:-1] if part not in measured and name in (part, "T")]
    return {"value": None, "filled_by": ", ".join(missing)}


def _sections(record: Mapping[str, Any], card: Mapping[str, Any], folder: Path) -> list[html.Block]:
    recomputed = record["paper_t_recomputed"]
    rows = [
        [name, *(f"{value:.2f}" for value in row), f"{recomputed[name]:.2f}"] for name, row in PAPER_TABLE_1.items()
    ]
    ours = ["this run", *(_cell(record["scores"][name]) for name in SCORES), ""]
    empty = [[name, found["filled_by"]] for name, found in record["scores"].items() if found["value"] is None]
    further = [[name, _cell(found, 5), found["of"]] for name, found in record["further"].items()]
    classes = [
        [name, found["pixels"], *("-" if found[key] is None else found[key] for key in ("accuracy", "IoU"))]
        for name, found in card["classes"].items()
    ]
    times = [[stage, f"{seconds:.1f}"] for stage, seconds in record["seconds"].items()]
    hashes = [[key, value] for key, value in _flat({key: record[key] for key in ("outputs", "made_by", "made_with")})]
    pictures = [("contact_sheet.jpg", "reference, mask, image"), ("nearest.jpg", "the closest real photos")]
    shown = [html.figure(folder / name, text, plot=True) for name, text in pictures if (folder / name).exists()]
    return [
        html.section(
            "Table 1",
            html.paragraph(
                "M, A, S and T in percent; FID as it is, the smaller the better. In brackets: 95 % intervals."
            ),
            html.table([*rows, ours], ["method", *SCORES, "T recomputed"], marked=[len(rows)]),
            html.paragraph(
                "The paper's rows are as printed. The last column computes T from the printed parts by the paper's "
                f"Eq. 8. IIDM's row is printed as {PAPER_TABLE_1['IIDM'][-1]} and computes to {recomputed['IIDM']:.2f}."
            ),
            *(html.paragraph(warning) for warning in card["warnings"]),
        ),
        *([html.section("What is missing", html.table(empty, ["score", "filled by"]))] if empty else []),
        html.section("Measured besides", html.table(further, ["score", "value", "of"])),
        html.section("Classes", html.table(classes, ["class", "pixels in the masks", "accuracy %", "IoU %"])),
        html.section("What of the organisers' setting is not public", html.table(UNKNOWN, ["score", "unknown"])),
        html.section("Time", html.table(times, ["stage", "seconds"])),
        html.section("What it came from", html.table(hashes, ["what", "value"])),
        *([html.section("Images", *shown)] if shown else []),
    ]


def _cell(found: Mapping[str, Any], digits: int = 2) -> str:
    if found["value"] is None:
        return "-"
    text = f"{found['value']:.{digits}f}"
    return f"{text} [{', '.join(f'{end:.{digits}f}' for end in found['interval'])}]" if found["interval"] else text


def _flat(value: Any, key: str = "") -> list[tuple[str, str]]:
    """Every leaf of a record by its dotted key."""
    if isinstance(value, Mapping):
        return [leaf for name, inner in value.items() for leaf in _flat(inner, f"{key}.{name}" if key else str(name))]
    return [(key, json.dumps(value) if isinstance(value, Sequence) and not isinstance(value, str) else str(value))]
