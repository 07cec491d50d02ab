"""Load the next batch while the current one is in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def load_ahead(load: Callable[[int], T], steps: range) -> Iterator[tuple[int, T]]:
    """Give (step, load(step)) in order. The next one is loaded while the current one is in use."""
    if not steps:
        return
    with ThreadPoolExecutor(max_workers=1) as executor:
        upcoming = executor.submit(load, steps[0])
        for step in steps:
            current = upcoming.result()
            if step + 1 < steps.stop:
                upcoming = executor.submit(load, step + 1)
            yield step, current
