"""`infer --candidates N`: several images of each mask, of which the best is kept."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jiidm.cli import options
from jiidm.errors import InputError

if TYPE_CHECKING:
    from jiidm.evaluate.chooser import Chooser
    from jiidm.inference.candidates import Candidates
    from jiidm.inference.folder import OutputFolder
    from jiidm.inference.infer import Generates
    from jiidm.inference.inputs import Job

_LONGEST = 18
"""Digits of a number."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """--candidates, and the networks that choose."""
    help = "images of each mask, from as many seeds; the one with the largest M (0.2 A + 0.3 (50 + S / 2)) is kept"
    parser.add_argument("--candidates", type=_count, default=1, metavar="N", help=help)
    options.add_segmenter_options(parser)
    options.add_aesthetic_options(parser)


def check(arguments: argparse.Namespace) -> None:
    """Raises InputError for options that do not go together."""
    options.check_image_options(arguments)
    for option, network in (("--segmenter", arguments.segmenter), ("--aesthetic", arguments.aesthetic)):
        if network and arguments.candidates == 1:
            raise InputError(f"{option} {network}: chooses among candidates; give --candidates N, 2 or more")
    if arguments.figures and arguments.candidates > 1:
        raise InputError(f"--figures: goes without --candidates {arguments.candidates}; figures are of one seed")


def load_chooser(arguments: argparse.Namespace) -> Chooser | None:
    """What chooses, if there is a choice."""
    if arguments.candidates == 1:
        return None
    from jiidm.evaluate.chooser import Chooser

    return Chooser(options.load_segmenter(arguments), options.load_aesthetic(arguments))


def record(arguments: argparse.Namespace, chooser: Chooser | None) -> dict[str, Any] | None:
    """What `jiidm.data.identity.made_by` has to know of the choice."""
    return None if chooser is None else {"count": arguments.candidates, "chooser": chooser.record()}


def among(
    load_pipeline: Callable[[], Generates], count: int, chooser: Chooser, folder: OutputFolder, jobs: Sequence[Job]
) -> Callable[[], Candidates]:
    """How to load what stands for the pipeline where there is a choice. It says who chooses."""
    print(f"candidates: {count} of each mask; {chooser.segmenter.name} chooses, so another segmenter has to report")
    return functools.partial(_load, load_pipeline, count, chooser, folder, jobs)


def _load(load_pipeline: Callable[[], Generates], *choice: Any) -> Candidates:
    from jiidm.inference.candidates import Candidates

    return Candidates(load_pipeline(), *choice)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)
