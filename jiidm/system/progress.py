"""A progress bar whose time left is right from its second step on."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from jiidm.system import ranks


class StepBar(tqdm):
    """tqdm without the first step in its rate: Jittor compiles during that one, for minutes perhaps."""

    def __init__(self, *given: Any, **options: Any):
        if not ranks.is_first():
            options["disable"] = True
        super().__init__(*given, **options)
        self._waits_for_the_first = not self.disable

    def update(self, n: float | None = 1) -> bool | None:
        if not self._waits_for_the_first:
            return super().update(n)
        self._waits_for_the_first = False
        self.n += n
        self.initial = self.last_print_n = self.n
        self.unpause()  # time counts from here
        return self.refresh()
