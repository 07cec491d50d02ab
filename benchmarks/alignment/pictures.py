"""Losses of both ends over each other, their differences, and images from both ends' weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alignment import parts, record
from benchmarks.alignment.verdict import FACTOR, FIRST_LIMIT, FIRST_STEPS, FLOOR
from benchmarks.common import sizes
from jiidm.classes import colorize
from jiidm.report.sheets import contact_sheet

MAGNIFIED = 8
"""Times that differences of images are."""
ENLARGED = 2


def losses(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Above every term's losses, below Jittor's difference to PyTorch and the limit; both to the same steps."""
    from matplotlib.figure import Figure

    panels = [(made, term) for made in records for term in made["verdicts"]]
    figure = Figure(figsize=(3.6 * len(panels), 6), dpi=110, layout="constrained")
    grid = figure.subplots(2, len(panels), squeeze=False, sharex="col")
    for (above, below), (made, term) in zip(grid.T, panels):
        _draw_losses(above, made, term)
        _draw_differences(below, made, term)
    grid[0, 0].set_ylabel("loss")
    grid[1, 0].set_ylabel("relative difference to PyTorch")
    for row in grid:
        row[0].legend(fontsize=8)
    figure.savefig(path, format="png")


def _draw_losses(axes, made: Mapping[str, Any], term: str) -> None:
    for end, style in (
        (record.TORCH, {"color": "tab:orange", "linewidth": 2.4}),
        (record.JITTOR, {"color": "tab:blue"}),
    ):
        values = made["ends"][end]["losses"][term]
        first = len(made["ends"][end]["learning_rate"]) - len(values) + 1  # a discriminator joins late
        axes.plot(np.arange(first, first + len(values)), values, label=end, **{"linewidth": 0.8, **style})
    axes.set_title(f"{made['part']}: {term.replace('_', ' ')}", fontsize=10)
    axes.grid(alpha=0.3)


def _draw_differences(axes, made: Mapping[str, Any], term: str) -> None:
    apart = record.differences(made["ends"], record.JITTOR, term)
    yardstick = record.yardstick(made["ends"], record.YARDSTICKS, term)
    steps = len(made["ends"][record.TORCH]["learning_rate"]) - len(apart) + np.arange(1, len(apart) + 1)
    limit = FACTOR * np.maximum(np.maximum.accumulate(yardstick), FLOOR)
    least = FLOOR / 100  # a difference of zero has no place on the axis
    axes.plot(steps, np.maximum(yardstick, least), color="tab:orange", linewidth=0.6, alpha=0.6, label="yardstick")
    axes.plot(steps, np.maximum(apart, least), color="tab:blue", linewidth=0.6, alpha=0.6, label=record.JITTOR)
    axes.plot(steps, np.maximum.accumulate(apart), color="tab:blue", linewidth=1.8, label="Jittor, largest so far")
    axes.plot(steps, limit, color="black", linestyle="--", linewidth=1.2, label="limit")
    if steps[0] <= FIRST_STEPS:
        axes.plot([1, FIRST_STEPS], [FIRST_LIMIT] * 2, color="tab:red", linewidth=2, label="limit of the first steps")
    axes.set(yscale="log", xlabel="step")
    axes.grid(alpha=0.3)


def images(name: str, folder: Path, path: Path) -> None:
    """Rows of what the U-Net paints, or of what the autoencoder makes of photos, from both ends' weights.

    folder: where the ends of the part `name` have written.
    """
    rows, labels = [], []
    ends = [np.load(folder / end / parts.ARRAYS)["images"] for end in (record.JITTOR, record.TORCH)]
    height, width = ends[0].shape[1:3]
    for scene, ours, theirs in zip(sizes.scenes(parts.SHOWN, sizes.Size(height, width), parts.SHOWN_SEED), *ends):
        apart = np.abs(ours.astype(int) - theirs)
        mask = [colorize(scene.mask)] * (name == "unet")  # the autoencoder sees none
        row = [*mask, scene.reference, ours, theirs, np.clip(MAGNIFIED * apart, 0, 255).astype(np.uint8)]
        rows.append([tile.repeat(ENLARGED, 0).repeat(ENLARGED, 1) for tile in row])
        labels.append(f"{name}: {apart.mean():.2f} grey levels apart")
    captions = ["mask"] * (name == "unet") + ["photo", record.JITTOR, record.TORCH, f"difference x {MAGNIFIED}"]
    contact_sheet(rows, path, captions, labels)
