"""The wrappers that training scripts put around a network's names: parallel and compiled modules, dicts of weights and
averages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

_MODULES = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""PyTorch's modules around modules. They add a part to names, at the start or within."""
_AVERAGE = re.compile(r"(?<![a-z])(ema|swa|avg|averaged?)(?![a-z])", re.IGNORECASE)


def is_average(name: str) -> bool:
    """Whether the name of a dict or module says that it holds moving averages of weights."""
    return _AVERAGE.search(name) is not None


def without_modules(names: Iterable[str]) -> dict[str, str]:
    """{name without the parts of modules around modules: name}. Raises ValueError where two become one."""
    found: dict[str, str] = {}
    for name in names:
        plain = ".".join(part for part in name.split(".") if part not in _MODULES)
        if plain in found:
            raise ValueError(f"{name}: given twice, the other as {found[plain]}")
        found[plain] = name
    return found


def prefix_of(names: Iterable[str], mark: str, homes: Sequence[str] = ()) -> str | None:
    """The text before `mark` in the names, or None where no name ends with `mark`.

    Where there are several, averages come first, because inference runs on them. Then come those under one of `homes`,
    then those under any other name. The least deep comes first.
    """

    def rank(prefix: str) -> tuple[bool, int, bool, int, str]:
        parts = prefix.split(".")[:-1]
        home = min((homes.index(part) for part in parts if part in homes), default=len(homes))
        return not any(map(is_average, parts)), home, not parts, len(parts), prefix

    found = [name.removesuffix(mark) for name in names if name.endswith(mark)]
    return min((prefix for prefix in found if not prefix or prefix.endswith(".")), key=rank, default=None)


def unwrapped(arrays: Mapping[str, np.ndarray], mark: str) -> dict[str, np.ndarray]:
    """The arrays of the network that has `mark` among its names, by the network's own names.

    Where no network has it, all arrays stay as they are. Raises ValueError as `without_modules` does.
    """
    names = without_modules(arrays)
    prefix = prefix_of(names, mark)
    if prefix is None:
        return dict(arrays)
    return {plain[len(prefix) :]: arrays[name] for plain, name in names.items() if plain.startswith(prefix)}
