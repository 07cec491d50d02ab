"""From the classes of another data set to the challenge's 29: ADE20K's 150 by name, or as a file of the user says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jiidm.classes import CLASS_NAMES, NUM_CLASSES
from jiidm.errors import InputError
from ldm_jittor.files import parse_json, read_text

ADE20K_CLASSES = 150
_ADE20K = (
    *(16, 2, 21, 26, 34, 4, 13, 68, 60, 46, 94, 1, 9, 17),
    *(12, 76, 113, 0, 140, 52, 128, 61, 29, 6, 38, 32, 103, 25),
)
OTHER = CLASS_NAMES.index("other")


class ClassMapping:
    """For every class of a network one of the challenge's: `table` uint8 [N]. `source` says where it is from."""

    def __init__(self, numbers: Mapping[str, list[int]], num_classes: int, source: str):
        """numbers: the network's class numbers of each challenge class that has any. The rest are "other"."""
        self.source = source
        self.numbers = dict(numbers)
        self.table = np.full(num_classes, OTHER, np.uint8)
        for name, members in numbers.items():
            self.table[members] = CLASS_NAMES.index(name)

    def record(self) -> dict[str, Any]:
        """What a score card keeps of it."""
        return {"source": self.source, "num_classes": len(self.table), "classes": self.numbers}


def ade20k() -> ClassMapping:
    """ADE20K's 150 classes (mmseg's order), 28 of which have the names of the challenge's.

    "other" takes the 122 that do not.
    """
    numbers = {name: [number] for name, number in zip(CLASS_NAMES, _ADE20K)}
    return ClassMapping(numbers, ADE20K_CLASSES, "ADE20K's classes by name")


def read_mapping(path: str | os.PathLike, num_classes: int) -> ClassMapping:
    """A mapping file for a network of `num_classes`: JSON such as {"mountain": [16], "tree": [4, 72], "sky": 2}.

    Keys are the challenge's classes, values the network's class numbers, counted from 0. Numbers that stand nowhere
    become "other". Raises InputError for an unreadable file, another name, a number that is none of the network's, and
    for a name or number that stands twice.
    """
    path = Path(path)
    try:
        content = parse_json(read_text(path), _without_repetition)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a class mapping ({error})") from None
    if not isinstance(content, dict) or not content:
        raise InputError(f'{path}: not a class mapping such as {{"sky": [2], "tree": [4, 72]}}')
    numbers: dict[str, list[int]] = {}
    owner: dict[int, str] = {}
    for name, members in content.items():
        if name not in CLASS_NAMES:
            raise InputError(f"{path}: {name!r} is none of the {NUM_CLASSES} classes: {', '.join(CLASS_NAMES)}")
        numbers[name] = members if isinstance(members, list) else [members]
        for number in numbers[name]:
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < num_classes:
                raise InputError(f"{path}: {name}: {number!r} is no class number of 0 to {num_classes - 1}")
            if number in owner:
                raise InputError(f"{path}: {number} stands under {owner[number]} and under {name}")
            owner[number] = name
    return ClassMapping(numbers, num_classes, path.name)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of JSON. Raises ValueError for a key that stands twice, of which `json` would keep the last."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} stands twice")
    return content
