"""The page of an experiment, OUT/report.html: its table with intervals, its pictures, its rows' images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jiidm.errors import InputError
from jiidm.inference import scorecard
from jiidm.report import html
from ldm_jittor.files import read_json, read_text

FILE = "report.html"
KINDS = {"ablation": "Table 2: what each part adds", "sweep": "The start timestep", "table1": "Table 1: methods"}
"""The experiments, by the stem of their JSON, and their titles."""
_SLIDES = 8


def kind_of(out: Path) -> str | None:
    """Which experiment a folder holds, or None."""
    return next((kind for kind in KINDS if (out / f"{kind}.json").is_file()), None)


def write_report(out: Path) -> Path:
    """Write the page of the experiment in a folder and return its path. Raises InputError where there is none."""
    kind = kind_of(out)
    if kind is None:
        raise InputError(f"{out}: no experiment's table, {'.json or '.join(KINDS)}.json, to report on")
    path = out / f"{kind}.json"
    try:
        found = read_json(path)
        rows = found["rows"] if "rows" in found else {str(point["start"]): point for point in found["points"]}
        sections = [_table(found, rows), *_orderings(found), *_pictures(out), *_images(out, list(rows))]
        sections.append(_text(out / f"{kind}.md"))
        count = found.get("outputs") or len(next(iter(found["cards"].values()))["images"])
    except InputError:  # of a picture
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a table of `jiidm` ({error})") from None
    return html.write_page(out / FILE, KINDS[kind], f"{out.resolve().name}, {count} masks", sections)


def _table(found: Mapping[str, Any], rows: Mapping[str, Any]) -> html.Block:
    scores = [name for name in scorecard.COLUMNS if any(name in row["scores"] for row in rows.values())]
    cells = [[name, *(_cell(row, score) for score in scores)] for name, row in rows.items()]
    how = found.get("bootstrap", {})
    told = (
        f"In brackets {100 * how['confidence']:.0f} % bootstrap intervals, {how['resamples']} resamples of the images."
        if how
        else ""
    )
    notes = [html.paragraph(note) for note in found.get("notes", [])]
    return html.section("Scores", *notes, html.paragraph(told), html.table(cells, ("row", *scores)))


def _cell(row: Mapping[str, Any], score: str) -> str:
    if score not in row["scores"]:
        return "-"
    low, high = row["intervals"][score]
    return f"{row['scores'][score]:.2f} [{low:.2f}, {high:.2f}]"


def _orderings(found: Mapping[str, Any]) -> list[html.Block]:
    rows = [
        (each["text"], "holds" if each["holds"] else "does not hold", f"{each['margin']:+.2f}")
        for each in found.get("expectations", [])
    ]
    return [html.section("Expected orderings", html.table(rows, ("ordering", "", "by")))] if rows else []


def _pictures(out: Path) -> list[html.Block]:
    found = [path for path in sorted(out.iterdir()) if path.suffix in (".jpg", ".png") and path.name[0] != "."]
    return [html.section("Pictures", *(html.figure(path, path.stem) for path in found))] if found else []


def _images(out: Path, rows: Sequence[str]) -> list[html.Block]:
    """A slider over the rows, in their order, for the first images that all of them have."""
    folders = sorted((path.parent for path in out.glob("*/_run")), key=lambda path: (_place(path.name, rows), path))
    stems = [{image.stem for image in folder.glob("*.jpg") if image.name[0] != "."} for folder in folders]
    common = sorted(set.intersection(*stems)) if stems else []
    if not common or len(folders) < 2:
        return []
    sliders = [
        html.slider([(folder.name, folder / f"{stem}.jpg") for folder in folders], f"rows of {stem}", 384)
        for stem in common[:_SLIDES]
    ]
    return [html.section("Row after row", html.grid(sliders))]


def _place(name: str, rows: Sequence[str]) -> int:
    return rows.index(name) if name in rows else len(rows)


def _text(path: Path) -> html.Block:
    return html.section("As text", html.details(path.name, html.code(read_text(path)))) if path.is_file() else ""
