"""The figures of the records as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.alignment.record import JITTOR, YARDSTICKS
from jiidm.report.tables import table

INTRODUCTION = """# Training beside PyTorch: the figures

[What they mean](README.md). `.venv/bin/python -m benchmarks.alignment` writes this page.

Losses: the largest relative difference to PyTorch, over the first 10 steps that have the loss and over all, beside that
of the yardstick, which is the largest of PyTorch's own runs. The last column judges each of these runs by the others.
"""
CODES = """Codes: how many PyTorch would have chosen otherwise than Jittor did. Such a latent lies beyond the border of
the two codes. How far, relative to its length, stands beside how far the yardstick's latents are from PyTorch's.
"""
DISTANCES = """Ends: the distance to PyTorch's weights and averages, relative to how far training moved them. Gradients
are relative to themselves, and images in grey levels.
"""
Records = Sequence[Mapping[str, Any]]


def figures(records: Records) -> str:
    tables = [INTRODUCTION, losses(records), *codes(records), DISTANCES, distances(records), speed(records)]
    tables += [repetition(records), environment(records)]
    return "\n\n".join(each.rstrip() for each in tables) + "\n"


def losses(records: Records) -> str:
    """A line for every term, and whether it keeps within the limit."""
    rows = []
    for made in records:
        for term, verdict in made["verdicts"].items():
            numbers = [f"{verdict[name]:.1e}" for name in ("first", "largest", "yardstick")]
            kept = [_kept(made[key][term]) for key in ("verdicts", "verdicts_by_threads_alone")]
            own = made["excess_of_pytorch"][term]
            kept.append("yes" if own <= 1 else f"no: up to {own:.2f} times the limit")
            rows.append([made["part"], term.replace("_", " "), *numbers, *kept])
    columns = ("part", "loss", "first 10", "all", "yardstick", "within the limit", "by threads alone", "PyTorch's own")
    return table(rows, columns)


def codes(records: Records) -> list[str]:
    """The table of the records that have codes, and its introduction."""
    rows = []
    for made in records:
        if found := made.get("codes"):
            numbers = [f"{found[name]:.1e}" for name in ("largest", "yardstick")]
            rows.append([made["part"], f"{found['otherwise']:,} of {found['of']:,}", *numbers, _kept(found)])
    columns = ("part", "chosen otherwise", "furthest beyond the border", "yardstick", "within the limit")
    return [CODES, table(rows, columns)] if rows else []


def _kept(verdict: Mapping[str, Any]) -> str:
    if verdict["breach"] is None:
        return "yes"
    steps = f"{verdict['broken']} step{'s' * (verdict['broken'] > 1)} from {verdict['breach']} on"
    return f"no: {steps}, up to {verdict['excess']:.2f} times the limit"


def distances(records: Records) -> str:
    rows = [
        [made["part"], kind, *(f"{apart[end]:.1e}" for end in (JITTOR, *YARDSTICKS))]
        for made in records
        for kind, apart in made["distances"].items()
    ]
    return table(rows, ("part", "what", JITTOR, *YARDSTICKS))


def speed(records: Records) -> str:
    rows = [
        [
            made["part"],
            name,
            f"{end['seconds_per_step']:.3f}",
            f"{end['samples_per_second']:.2f}",
            f"{end['peak_gib']:.2f}",
        ]
        for made in records
        for name, end in made["ends"].items()
    ]
    return table(rows, ("part", "end", "seconds a step", "samples a second", "peak GiB"))


def repetition(records: Records) -> str:
    second = {True: "repeats the first to the bit", False: "DIFFERS from the first", None: "was not made"}
    rows = [[made["part"], f"{made['learning_rate_difference']:.0e}", second[made["repeats"]]] for made in records]
    return table(rows, ("part", "learning rates differ by", "Jittor's second run"))


def environment(records: Records) -> str:
    versions = {
        f"{name} {version}"
        for made in records
        for end in made["ends"].values()
        for name, version in end["environment"].items()
        if name != "threads"
    }
    processors = dict.fromkeys(made["cpu"] for made in records)
    return f"{', '.join(processors)}; {', '.join(sorted(versions))}."
