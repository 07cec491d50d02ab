"""One page of plain HTML: it needs no other file, no script and no network, and prints well."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path

from ldm_jittor.files import atomic_path

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; }
tr.marked { background: #eef5ff; font-weight: 600; }
img { max-width: 100%; } figure { margin: 1rem 0; } figcaption { color: #555; }
code { overflow-wrap: anywhere; font-size: .85em; }
"""
_MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def heading(text: str) -> str:
    return f"<h2>{html.escape(text)}</h2>"


def paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def table(rows: Sequence[Sequence[object]], header: Sequence[str], marked: Sequence[int] = ()) -> str:
    """A table. Columns of numbers, which may have their unit or interval behind them, are right-aligned.

    marked: the rows, from 0, that stand out.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    numeric = [all(cell[:1].isdigit() or cell in ("", "-") or cell[:1] == "-" for cell in col) for col in zip(*texts)]
    numeric = numeric or [False] * len(header)

    def line(tag: str, cells: Sequence[str]) -> str:
        classes = (' class="number"' if right else "" for right in numeric)
        return "".join(f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for kind, cell in zip(classes, cells))

    marks = (' class="marked"' if number in marked else "" for number in range(len(texts)))
    body = "\n".join(f"<tr{mark}>{line('td', row)}</tr>" for mark, row in zip(marks, texts))
    return f"<table>\n<thead><tr>{line('th', header)}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def picture(path: str | os.PathLike, caption: str) -> str:
    """A PNG or JPEG file as part of the page. Raises OSError where it cannot be read, KeyError for another suffix."""
    path = Path(path)
    content = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="{html.escape(caption)}" src="data:{_MEDIA[path.suffix.lower()]};base64,{content}">'
    return f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"


def write_page(path: str | os.PathLike, title: str, parts: Sequence[str]) -> None:
    """Write the parts under a title, atomically. Raises OSError where that is not possible."""
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join([f"<h1>{html.escape(title)}</h1>", *parts])
    text = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
