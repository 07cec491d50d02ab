"""Curves: the losses of a training log, and scores against a setting."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jiidm.errors import InputError
from jiidm.report.logs import read_log
from ldm_jittor.files import write_through_memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN_BY_LOSSES = ("step", "loss", "val_loss", "FID", "fd_seg")


def plot_losses(jsonl_path: str | os.PathLike, png_path: str | os.PathLike) -> None:
    """Draw a training log, lines of {"step": ..., "loss": ..., "val_loss": ...}, as a PNG.

    Raw losses are pale, their exponential average is solid. Validation losses are dots. Frechet distances are squares
    with an axis of their own. Other keys are ignored. A step that was logged twice, as after a resume, counts with its
    last value. Damaged lines are left out. Raises InputError for a log without any loss.
    """
    from matplotlib.figure import Figure  # takes half a second

    records = read_log(Path(jsonl_path))
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="training step", ylabel="loss")
    steps, losses = _series(records, "loss")
    if len(steps):
        marker = "." if len(steps) == 1 else None  # a line of one point cannot be seen
        axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.8, label="training, every record")
        axes.plot(steps, _smooth(losses), color="tab:blue", linewidth=1.8, marker=marker, label="training, smoothed")
    validation_steps, validation_losses = _series(records, "val_loss")
    if len(validation_steps):
        axes.plot(validation_steps, validation_losses, "o", color="tab:orange", markersize=5, label="validation")
    drawn = np.concatenate([losses, validation_losses])
    if not len(drawn):
        raise InputError(f"{jsonl_path}: no losses in this log")
    if drawn.min() > 0 and drawn.max() > 10 * drawn.min():
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    for score in ("FID", "fd_seg"):
        steps, distances = _series(records, score)
        if len(steps):
            right = axes.twinx()
            right.set(ylabel=score, ylim=(0, 1.1 * distances.max()))
            right.plot(steps, distances, "s--", color="tab:green", markersize=5, label=f"validation, {score}")
    figure.legend(loc="outside upper center", ncols=4)
    _save(figure, png_path)


class Panel(NamedTuple):
    """One score, a value and its interval for each place on the x axis."""

    title: str
    values: Sequence[float]
    intervals: Sequence[tuple[float, float]]


def plot_panels(
    panels: Sequence[Panel], x: Sequence[float], png_path: str | os.PathLike, xlabel: str, marked: tuple[float, str]
) -> None:
    """Draw scores side by side against `x` as a PNG, with bands of their intervals.

    marked: a place on the x axis, where each panel has a dashed line, and what the legend says of it.
    """
    from matplotlib.figure import Figure  # takes half a second

    figure = Figure(figsize=(4 * len(panels), 3.8), dpi=120, layout="constrained")
    colors = ("tab:orange", "tab:blue", "tab:green", "tab:purple")
    for number, (axes, panel) in enumerate(zip(figure.subplots(1, len(panels), squeeze=False)[0], panels)):
        color = colors[number % len(colors)]
        axes.fill_between(x, *zip(*panel.intervals), color=color, alpha=0.2, linewidth=0)
        axes.plot(x, panel.values, "o-", color=color, markersize=4)
        axes.axvline(marked[0], color="dimgray", linestyle="--", linewidth=1, label=marked[1])
        axes.set(title=panel.title, xlabel=xlabel)
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _save(figure, png_path)


class Dot(NamedTuple):
    """One value with its interval, and another source's value of the same thing where there is one."""

    value: float
    interval: tuple[float, float]
    printed: float | None


def plot_dots(panels: Mapping[str, Sequence[Dot]], names: Sequence[str], png_path: str | os.PathLike) -> None:
    """Draw a panel per score as a PNG: a line per name, with its value, interval and printed value."""
    from matplotlib.figure import Figure  # takes half a second

    figure = Figure(figsize=(3.4 * len(panels) + 1, 0.4 * len(names) + 1.6), dpi=120, layout="constrained")
    places = range(len(names))
    for number, (axes, (title, dots)) in enumerate(
        zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items())
    ):
        values = np.array([dot.value for dot in dots])
        reach = np.abs(np.array([dot.interval for dot in dots]).T - values)
        axes.errorbar(values, places, xerr=reach, fmt="o", color="tab:blue", capsize=3, label="here, 95 %")
        printed = [(dot.printed, place) for dot, place in zip(dots, places) if dot.printed is not None]
        if printed:
            axes.plot(*zip(*printed), "D", color="tab:orange", fillstyle="none", label="paper")
        axes.set(title=title, yticks=list(places), yticklabels=names if number == 0 else [""] * len(names))
        axes.invert_yaxis()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _save(figure, png_path)


def _series(records: list[dict], key: str) -> tuple[np.ndarray, np.ndarray]:
    values = {record["step"]: record[key] for record in records if record.get(key) is not None}
    steps = sorted(step for step, value in values.items() if math.isfinite(value))
    return np.array(steps), np.array([values[step] for step in steps], dtype=float)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Exponential average over about a fortieth of the curve, without the pull of a start at zero."""
    decay = 1 - 1 / max(1, len(values) / 40)
    smooth, weight, average = np.empty_like(values), 0.0, 0.0
    for index, value in enumerate(values):
        average = decay * average + (1 - decay) * value
        weight = decay * weight + (1 - decay)
        smooth[index] = average / weight
    return smooth


def plot_terms(jsonl_path: str | os.PathLike, png_path: str | os.PathLike) -> bool:
    """Draw every value of a training log that `plot_losses` leaves out, each on axes of its own, as a PNG.

    Returns whether there is any. Raises InputError as `plot_losses` does.
    """
    records = read_log(Path(jsonl_path))
    names = dict.fromkeys(name for record in records for name in record)
    shown = [name for name in names if name not in _SHOWN_BY_LOSSES and len(_series(records, name)[0])]
    _plot_grid(png_path, [(name, *_series(records, name)) for name in shown])
    return bool(shown)


def plot_distributions(values: Mapping[str, Sequence[float]], png_path: str | os.PathLike) -> None:
    """Draw a histogram of each score as a PNG, with a line at its mean."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(values), 3), dpi=140, layout="constrained")
    for axes, (name, numbers) in zip(figure.subplots(1, len(values), squeeze=False)[0], values.items()):
        mean = float(np.mean(numbers))
        axes.hist(numbers, bins=min(30, max(5, len(numbers) // 5)), color="tab:blue", alpha=0.75)
        axes.axvline(mean, color="tab:orange", linewidth=2, label=f"mean {mean:.2f}")
        axes.set(xlabel=name, ylabel="images")
        axes.legend(fontsize=8)
    _save(figure, png_path)


def _plot_grid(png_path: str | os.PathLike, curves: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> None:
    from matplotlib.figure import Figure

    if not curves:
        return
    columns = min(3, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), dpi=120, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, steps, values) in zip(panels, curves):
        axes.plot(steps, values, color="tab:blue", alpha=0.3, linewidth=0.8)
        axes.plot(steps, _smooth(values), color="tab:blue", linewidth=1.6, marker="." if len(steps) == 1 else None)
        axes.set_title(name, fontsize=10)
        axes.grid(alpha=0.3)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    _save(figure, png_path)


def _save(figure: Figure, png_path: str | os.PathLike) -> None:
    write_through_memory(png_path, lambda file: figure.savefig(file, format="png"))
