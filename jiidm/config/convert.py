"""Between nested dicts and lists, as YAML and JSON have them, and the typed dataclasses of `schema`.

A `Size` is the list [width, height] there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, NoReturn

from jiidm.config import history
from jiidm.config.bounds import bound_of
from jiidm.errors import InputError
from jiidm.size import Size

_MAX_SHOWN = 200
_EXPECTED = {int: "an integer", str: "a string", bool: "true or false"}


def to_typed(kind: Any, value: Any, key: str, source: str) -> Any:
    """`value` as the annotated type `kind`: a dataclass, Size, Literal, tuple, `X | None`, int, float, str or bool.

    Raises InputError, which names `source` and `key`, for another type, an unknown key and a value out of bounds.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _section(kind, value, key, source)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):  # 1 is not True
            return value
        _refuse(value, key, source, " or ".join(_written(choice) for choice in arguments))
    if kind is Size:
        width, height = _tuple((int, int), value, key, source)
        return Size(height, width)
    if origin is tuple:
        return _tuple(arguments, value, key, source)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else to_typed(arguments[0], value, key, source)
    if kind is float:
        return _number(value, key, source)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        _refuse(value, key, source, _EXPECTED[kind])
    if kind is int and value.bit_length() > 63:
        _refuse(value, key, source, "an integer of 64 bits")
    return value


def to_dict(value: Any) -> Any:
    """The inverse of `to_typed`, ready for YAML or JSON."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_dict(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Size):
        return list(value[::-1])
    return [to_dict(item) for item in value] if isinstance(value, tuple) else value


def shown(value: Any) -> str:
    """A value as error messages have it."""
    if isinstance(value, Size):
        return str(value)
    return _cut(list(value)) if isinstance(value, tuple) else _cut(value, str)


def _written(choice: str | bool) -> str:
    """A choice as YAML has it."""
    return str(choice).lower() if isinstance(choice, bool) else choice


def _cut(value: Any, write: Callable[[Any], str] = repr) -> str:
    try:
        text = write(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _refuse(value: Any, key: str, source: str, expected: str) -> NoReturn:
    raise InputError(f"{source}: {key or 'the file'} is {_cut(value)}, expected {expected}")


def _section(kind: Any, value: Any, key: str, source: str) -> Any:
    if not isinstance(value, dict):
        _refuse(value, key, source, "a mapping")
    fields, hints = {field.name: field for field in dataclasses.fields(kind)}, typing.get_type_hints(kind)
    given = {}
    for name, item in value.items():
        place = f"{key}.{name}" if key else str(name)
        if name not in fields:
            told = history.told_of(place)
            raise InputError(f"{source}: unknown key {place}{told and f'; {told}'}")
        given[name] = to_typed(hints[name], item, place, source)
        bound = bound_of(fields[name])
        if bound and given[name] is not None and not bound.holds(given[name]):
            raise InputError(f"{source}: {place} is {shown(given[name])}, expected {bound.expected}")
    missing = [name for name, field in fields.items() if name not in given and not _has_default(field)]
    if missing:
        _refuse(value, key, source, f"a mapping with {', '.join(missing)}")
    return kind(**given)


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return not (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING)


def _tuple(kinds: tuple[Any, ...], value: Any, key: str, source: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        _refuse(value, key, source, "a list")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        _refuse(value, key, source, f"{len(kinds)} values")
    return tuple(to_typed(kind, item, f"{key}.{i}", source) for i, (kind, item) in enumerate(zip(kinds, value)))


def _number(value: Any, key: str, source: str) -> float:
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            number = float(value)  # YAML 1.1 reads 1e-4, without a dot, as a string
            if math.isfinite(number):
                return number
    _refuse(value, key, source, "a finite number")
