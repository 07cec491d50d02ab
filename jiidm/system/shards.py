"""One job as equal parts, for any number of machines that share a folder. The parts know nothing of each other."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from jiidm.errors import InputError

T = TypeVar("T")
_SLURM = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class Shard:
    """Part `number`, from 1, of `count`."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"part {self.number} of {self.count}"

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Every `count`-th item. Whatever is done already, the part stays the same, so it can be tried again."""
        return items[self.number - 1 :: self.count]


WHOLE = Shard(1, 1)


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard `i/n`, or `slurm` for the place of this task in its Slurm array. Raises InputError for another."""
    if text == "slurm":
        return _slurm_shard(environment)
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"{text!r} is not i/n with i from 1 to n, nor slurm")
    return Shard(int(found[1]), int(found[2]))


def _slurm_shard(environment: Mapping[str, str]) -> Shard:
    """Tasks first, first + step, ... are parts 1, 2, ... An array with gaps would leave parts out."""
    values = {name: environment.get(f"{_SLURM}{name}", "") for name in ("ID", "MIN", "STEP", "COUNT", "MAX")}
    if values["MAX"] == "":  # the others tell everything but a gap
        del values["MAX"]
    told = ", ".join(f"{_SLURM}{name}={value or '(empty)'}" for name, value in values.items())
    if not all(re.fullmatch("[0-9]{1,9}", value) for value in values.values()):
        raise InputError(f"slurm: this is no task of a Slurm array: {told}")
    numbers = {name: int(value) for name, value in values.items()}
    first, step, count = numbers["MIN"], numbers["STEP"], numbers["COUNT"]
    position, beside = divmod(numbers["ID"] - first, step or 1)
    last = first + (count - 1) * step
    if step < 1 or beside or not 0 <= position < count or numbers.get("MAX", last) != last:
        raise InputError(f"slurm: the array must be FIRST-LAST or FIRST-LAST:STEP: {told}")
    return Shard(position + 1, count)
