"""The options that the benchmarks share, and the table they print."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import sizes
from benchmarks.common.duel import Contestant, duel

TF32_TOLERANCE = 1e-2
"""Largest difference of answers on a GPU, in units of the largest value."""


def parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for both")
    parser.add_argument("--worker", metavar="OUT", help=argparse.SUPPRESS)
    return parser


def sized_parser(description: str, batch: int = 1) -> argparse.ArgumentParser:
    """Options with the sizes to compare at, and the default batch."""
    sized = parser(description)
    sized.add_argument("--size", nargs="+", choices=sizes.SIZES, default=["mid"])
    sized.add_argument("--batch", type=int, default=batch)
    return sized


def experiment_parser(description: str, count: int, config: str = "demo") -> argparse.ArgumentParser:
    """Options of a benchmark that generates images from `count` masks by the rounds of a config."""
    images = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    images.add_argument("--config", default=config, help=f"whose rounds (default: {config})")
    images.add_argument("--count", type=int, default=count, metavar="N", help=f"masks (default: {count})")
    images.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for the images")
    images.add_argument("--device", default="cpu", help="cpu or cuda")
    return images


def compare(
    case: str,
    contestants: Sequence[Contestant],
    arguments: argparse.Namespace,
    memory: Sequence[str] = ("peak",),
    **agreement: float,
) -> list[list]:
    """The table's rows of one duel: case, contestant, seconds, times the first's, and `memory` of the Result.

    On a GPU the process's memory says nothing, and convolutions have 10 bits of mantissa (TF32) by default on both
    sides.
    """
    if arguments.device != "cpu":
        agreement = {**agreement, "tolerance": TF32_TOLERANCE}
    results = duel(contestants, arguments.turns, **agreement)
    return [
        [case, contestant.name, result.seconds, result.seconds / results[0].seconds]
        + [getattr(result, name) if arguments.device == "cpu" else "-" for name in memory]
        for contestant, result in zip(contestants, results)
    ]


def show(rows: Sequence[Sequence[object]], *header: str) -> None:
    from jiidm.report.tables import table

    print(table(rows, header))
