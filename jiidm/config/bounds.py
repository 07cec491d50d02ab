"""Fields with bounds: what a single value of a config must be, besides its type. `convert` checks it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

_KEY = "bound"


class Bound(NamedTuple):
    holds: Callable[[Any], bool]
    expected: str
    """The end of an error message: "expected ..."."""


def bounded(holds: Callable[[Any], bool], expected: str, default: Any) -> Any:
    """A dataclass field whose value has to satisfy `holds`. Null does so where the type allows it."""
    return dataclasses.field(default=default, metadata={_KEY: Bound(holds, expected)})


def at_least(low: float, default: Any) -> Any:
    return bounded(lambda value: value >= low, f"{low} or more", default)


def positive(default: Any) -> Any:
    return bounded(lambda value: value > 0, "a number above 0", default)


def between(low: float, high: float, default: Any) -> Any:
    """Both ends are allowed."""
    return bounded(lambda value: low <= value <= high, f"{low} to {high}", default)


def below_one(default: Any) -> Any:
    """A share that can be 0 but not 1."""
    return bounded(lambda value: 0 <= value < 1, "0 to below 1", default)


def positive_list(default: tuple[int, ...]) -> Any:
    return bounded(lambda values: min(values, default=0) >= 1, "a list of whole numbers above 0", default)


def bound_of(field: dataclasses.Field[Any]) -> Bound | None:
    return field.metadata.get(_KEY)
