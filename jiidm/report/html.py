"""One HTML file that holds everything: a page of sections, made of plain values. It asks nothing of any server."""

from __future__ import annotations

import base64
import html
import io
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jiidm.data.images import open_image
from ldm_jittor.files import atomic_path

Block = str
"""A piece of HTML. Only this module writes tags; every text that comes in is escaped."""

THUMBNAIL, PICTURE = 224, 1000
"""Widths in pixels to which images and whole sheets are shrunk."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE = """
:root { --ground: #f5f6f8; --panel: #fff; --line: #d9dde4; --text: #1b1f26; --quiet: #59616e; --accent: #1566a8;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ground: #17191d; --panel: #212429; --line: #3a404a; --text: #eceef2;
  --quiet: #b4bac6; --accent: #8fc7f3; } }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0 auto; max-width: 1180px; padding: 24px 16px 60px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans SC", sans-serif; }
h1 { margin: 0; font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { margin: 0 0 12px; font-size: 1.1rem; }
h3 { margin: 18px 0 8px; font-size: .95rem; }
p { margin: 6px 0; }
.quiet, figcaption { color: var(--quiet); font-size: .88rem; }
section { margin-top: 18px; padding: 18px; background: var(--panel); border: 1px solid var(--line);
  border-radius: 12px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.marked { font-weight: 650; }
tr.marked td { border-bottom-color: var(--accent); }
code { overflow-wrap: anywhere; }
figure { margin: 0; }
figure img { display: block; max-width: 100%; border-radius: 8px; }
figure.plot img { background: #fff; max-width: min(100%, 900px); }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; }
.tile { min-width: 120px; padding: 10px 16px; border: 1px solid var(--line); border-radius: 10px; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 18px; }
.row { display: flex; gap: 4px; }
.row img { flex: 1 1 0; min-width: 0; border-radius: 5px; }
.slider img { width: 100%; }
.slider input { width: 100%; margin: 8px 0 2px; accent-color: var(--accent); }
.slider output { font-weight: 600; }
pre { overflow-x: auto; margin: 8px 0 0; padding: 12px; border: 1px solid var(--line); border-radius: 8px;
  font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""
_SCRIPT = """
for (const slider of document.querySelectorAll(".slider")) {
  const input = slider.querySelector("input"), images = slider.querySelectorAll("img");
  const show = () => {
    images.forEach((image, index) => { image.hidden = index !== Number(input.value); });
    slider.querySelector("output").textContent = images[input.value].alt;
    input.setAttribute("aria-valuetext", images[input.value].alt);
  };
  input.addEventListener("input", show);
  input.hidden = false;
  show();
}
"""
_numbers = itertools.count(1)


def write_page(path: str | os.PathLike, title: str, subtitle: str, sections: Iterable[Block]) -> Path:
    """Write a page, atomically, and return its path. It loads nothing, and its policy forbids it to."""
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{_escaped(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{_escaped(title)}</h1><p class="quiet">{_escaped(subtitle)}</p></header>
<main>
{"".join(sections)}</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(path)


def section(title: str, *blocks: Block) -> Block:
    return f"<section>\n<h2>{_escaped(title)}</h2>\n{''.join(blocks)}</section>\n"


def heading(text: str) -> Block:
    return f"<h3>{_escaped(text)}</h3>\n"


def paragraph(text: str) -> Block:
    return f"<p>{_escaped(text)}</p>\n"


def details(summary: str, *blocks: Block) -> Block:
    """What is folded away until it is asked for."""
    return f"<details><summary>{_escaped(summary)}</summary>{''.join(blocks)}</details>\n"


def code(text: str) -> Block:
    return f"<pre>{_escaped(text)}</pre>\n"


def tiles(values: Mapping[str, str]) -> Block:
    """Figures to be seen first: {name: value}."""
    found = "".join(
        f'<div class="tile">{_escaped(name)}<b>{_escaped(value)}</b></div>' for name, value in values.items()
    )
    return f'<div class="tiles">{found}</div>\n'


def table(rows: Sequence[Sequence[object]], header: Sequence[str], marked: Sequence[int] = ()) -> Block:
    """Columns of numbers, which may have their unit or interval behind them, are right-aligned.

    Floats have 4 significant digits. marked: the rows, from 0, that stand out.
    """
    texts = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    numeric = [all(cell[:1].isdigit() or cell == "" or cell[:1] == "-" for cell in column) for column in zip(*texts)]
    numeric = numeric or [False] * len(header)

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = (' class="number"' if right else "" for right in numeric)
        return "".join(f"<{tag}{kind}>{_escaped(cell)}</{tag}>" for kind, cell in zip(kinds, cells))

    marks = (' class="marked"' if number in marked else "" for number in range(len(texts)))
    body = "\n".join(f"<tr{mark}>{line('td', row)}</tr>" for mark, row in zip(marks, texts))
    head = f"<thead><tr>{line('th', header)}</tr></thead>"
    return f'<div class="scroll"><table>\n{head}\n<tbody>\n{body}\n</tbody></table></div>\n'


def figure(image: str | os.PathLike | np.ndarray, caption: str, width: int = PICTURE, plot: bool = False) -> Block:
    """One picture with its caption. A plot is kept as it is, on white."""
    source = _as_file(Path(image)) if plot and not isinstance(image, np.ndarray) else _embedded(image, width)
    kind = ' class="plot"' if plot else ""
    return f"<figure{kind}>{_image(source, caption)}<figcaption>{_escaped(caption)}</figcaption></figure>\n"


def slider(pictures: Sequence[tuple[str, str | os.PathLike | np.ndarray]], label: str, width: int = PICTURE) -> Block:
    """Pictures of which one is seen, each with its name; `label` says what the slider goes through.

    Without scripts all are seen.
    """
    images = "".join(_image(_embedded(picture, width), name) for name, picture in pictures)
    number, last = next(_numbers), len(pictures) - 1
    return (
        f'<figure class="slider">{images}<input id="slider{number}" type="range" min="0" max="{last}" value="{last}"'
        f' aria-label="{_escaped(label)}" hidden><output for="slider{number}"></output></figure>\n'
    )


def row(pictures: Sequence[tuple[str, str | os.PathLike | np.ndarray]], caption: str) -> Block:
    """Small pictures side by side, such as reference, mask and result."""
    images = "".join(_image(_embedded(picture, THUMBNAIL), name) for name, picture in pictures)
    return f'<figure><div class="row">{images}</div><figcaption>{_escaped(caption)}</figcaption></figure>\n'


def grid(blocks: Iterable[Block]) -> Block:
    return f'<div class="grid">{"".join(blocks)}</div>\n'


def _image(source: str, name: str) -> str:
    return f'<img src="{source}" alt="{_escaped(name)}" loading="lazy">'


def _embedded(image: str | os.PathLike | np.ndarray, width: int) -> str:
    """A picture, at most so wide, as a data address. Raises InputError for a file that is none."""
    if isinstance(image, np.ndarray):
        picture = Image.fromarray(image)
    else:
        with open_image(image) as opened:
            picture = opened.convert("RGB")
    if picture.width > width:
        height = max(1, round(picture.height * width / picture.width))
        picture = picture.resize((width, height), Image.Resampling.BOX, reducing_gap=2)
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=85)
    return _address("image/jpeg", file.getvalue())


def _as_file(path: Path) -> str:
    return _address(f"image/{'png' if path.suffix == '.png' else 'jpeg'}", path.read_bytes())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)
