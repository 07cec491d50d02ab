"""Exponential moving average of a model's parameters, keyed by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jittor as jt
import numpy as np
from jittor import nn

from ldm_jittor.updates import moving_average


class EMA:
    """Averages of a model's parameters, which start at the model's own values.

    After n updates they follow with the decay min(decay, (1 + n) / (10 + n)). This warm-up keeps the random initial
    weights from lingering. `num_updates` belongs to the state, so that a resumed run goes on where it was.
    """

    def __init__(self, model: nn.Module, decay: float, num_updates: int = 0):
        self.decay = decay
        self.num_updates = num_updates
        self.parameters = dict(model.named_parameters())
        self.averages = {name: value.copy().stop_grad() for name, value in self.parameters.items()}

    def update(self) -> None:
        """Move every average towards the model's current parameter."""
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        for name, average in self.averages.items():
            average.update(moving_average(average, self.parameters[name].detach(), decay))
        jt.sync(list(self.averages.values()))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the averages while the block runs, and its own parameters back afterwards."""
        own = {name: value.numpy() for name, value in self.parameters.items()}
        try:
            for name, value in self.parameters.items():
                value.assign(self.averages[name].copy())
            yield
        finally:
            for name, value in self.parameters.items():
                value.assign(jt.array(own[name]))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Averages as numpy arrays, under the model's parameter names."""
        return {name: value.numpy() for name, value in self.averages.items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Replace the averages. Raises KeyError for a parameter that `state` lacks."""
        for name, average in self.averages.items():
            average.assign(jt.array(state[name]))

    def restart(self) -> None:
        """Begin again at the model's present values."""
        self.load_state_dict({name: value.numpy() for name, value in self.parameters.items()})
        self.num_updates = 0
