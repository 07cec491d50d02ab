"""The log of a training run: a line of JSON for each logged step, read with care."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from jiidm.errors import InputError
from ldm_jittor.files import parse_json

logger = logging.getLogger(__name__)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log, numbers or None by name, with the integer `step` in each.

    A damaged line is left out, and told unless it is the last, which a killed run may leave half-written.
    Raises InputError where the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = parse_json(line)
            record["step"] = int(record["step"])
            for value in record.values():
                math.isfinite(0 if value is None else value)  # raises for what is no number
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            if number < len(lines):
                logger.warning("%s: line %d is damaged, and left out", path, number)
            continue
        records.append(record)
    return records
