"""The findings of `jiidm score`, OUT/_run/scores.json: written, read back, and shown as a row of a table."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jiidm.errors import InputError
from jiidm.inference.folder import RUN_FOLDER
from jiidm.report.tables import table
from ldm_jittor.files import atomic_path, read_json

FILE = "scores.json"
COLUMNS = ("M", "A", "FID", "fd_seg", "S", "T")
UNITS = "M, A, S and T in percent, as the paper prints them; FID and fd_seg as they are"


def save(out: str | os.PathLike, card: dict[str, Any]) -> Path:
    """Write `out`/_run/scores.json, atomically. Raises OSError where it cannot be written."""
    path = Path(out) / RUN_FOLDER / FILE
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def load(out: str | os.PathLike) -> dict[str, Any]:
    """Read the scores of an output folder, which must belong to the images that lie there now.

    Raises InputError when there are none, when the file is no scores.json, or when an image has changed since.
    """
    path = Path(out) / RUN_FOLDER / FILE
    try:
        card = read_json(path)
        current = digest(out, card["images"]) == card["outputs"]["sha256"]
        numbers = list(card["scores"].values())
        numbers += [image[key] for image in card["images"].values() for key in {"M", "S", *image}]
        if not isinstance(card["made_with"], dict) or not all(isinstance(number, (int, float)) for number in numbers):
            raise TypeError("other types than expected")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `jiidm score {out} ...` makes it") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a file of `jiidm score` ({error})") from None
    if not current:
        raise InputError(f"{path}: the images in {out} have changed since; `jiidm score` again")
    return card


def value(scores: Mapping[str, float]) -> float:
    """What Eq. 8 makes of a single image: M (0.2 A + 0.3 (50 + S / 2)) / 100, without A where it was not measured.

    M, A and S are in percent. FID, which a single image has not, is left out.
    """
    return scores["M"] * (0.2 * scores.get("A", 0.0) + 0.3 * (50 + scores["S"] / 2)) / 100


def digest(out: str | os.PathLike, stems: Iterable[str]) -> str:
    """One SHA-256 over the names and bytes of the outputs of `stems`; a missing one counts as empty."""
    total = hashlib.sha256()
    for stem in sorted(stems):
        path = Path(out) / f"{Path(stem).name}.jpg"
        content = path.read_bytes() if path.is_file() else b""
        total.update(f"{stem} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def as_table(rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    """Names and their scores as a table like the paper's. A column that no row has is left out."""
    columns = [column for column in COLUMNS if any(column in scores for _, scores in rows)]
    cells = [[name, *(f"{scores[c]:.2f}" if c in scores else "-" for c in columns)] for name, scores in rows]
    return table(cells, ("run", *columns))
