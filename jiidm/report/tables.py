"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    """An aligned Markdown table. Numbers are right-aligned; floats have 4 significant digits."""
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    numeric = [all(isinstance(cell, (int, float)) for cell in column) for column in zip(*rows)]
    numeric = numeric or [False] * len(header)
    widths = [max(3, *map(len, column)) for column in zip(header, *cells)]

    def line(row: Sequence[str]) -> str:
        aligned = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric))
        return f"| {' | '.join(aligned)} |"

    rule = ["-" * (w - 1) + (":" if right else "-") for w, right in zip(widths, numeric)]
    return "\n".join([line(header), line(rule), *map(line, cells)])
