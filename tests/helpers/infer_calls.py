"""Calls of `jiidm infer`, and the images that they leave."""

from __future__ import annotations

from pathlib import Path

from jiidm.cli import main as cli


def paint(inputs, out, model, *more) -> int:
    """The exit status of `infer` on conftest's `inputs`."""
    return cli.main(inputs.command(out, model, *more))


def contents(out) -> dict[str, bytes]:
    """The images of an output folder by name."""
    return {path.name: path.read_bytes() for path in sorted(Path(out).glob("*.jpg"))}
