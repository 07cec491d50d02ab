"""A stage is what `fit` trains. It brings batches and losses, and says what is saved, measured and logged."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.seeding import generator
from jiidm.system import ranks
from jiidm.train.optimizer import Optimizer
from ldm_jittor import checkpoint
from ldm_jittor.ema import EMA

Losses = Iterator[dict[str, jt.Var]]
"""The named scalars of each micro-batch in turn. The first is minimised, all are logged."""


class Stage:
    """What `fit` trains. A subclass sets these attributes, and defines `load_batch` and `losses`."""

    name: str
    """The name of the log, NAME.jsonl, and of the progress bar."""
    state_file: str
    plot_file: str
    max_steps: int
    log_every: int
    checkpoint_every: int
    accumulation_steps: int = 1
    """Micro-batches a turn. Their gradients are averaged."""
    network: nn.Module
    """The network that is trained in the end. `ema` averages its weights."""
    optimizers: Mapping[str, Optimizer]
    """Every `Optimizer`, by its name in the state file."""
    ema: EMA | None = None
    provenance: Mapping[str, Any] = {}

    def load_batch(self, step: int) -> Any:
        """What `losses` needs, as numpy arrays. Another thread calls this while the step before is computed."""
        raise NotImplementedError

    def losses(self, batch: Any, step: int) -> Iterator[tuple[Optimizer, Losses]]:
        """The turns of a step: an optimizer and its losses each. It is updated before the next turn is asked for."""
        raise NotImplementedError

    def checkpoint_due(self, step: int) -> bool:
        """Whether the state is saved after `step` steps."""
        return self.due(step, self.checkpoint_every)

    def begin(self, step: int) -> None:
        """Called before the first step, and when a run goes on at `step`: forget what will be done again."""

    def evaluated(self, step: int, logged: Container[str]) -> bool:
        """Whether all that `evaluate` does at this step is there; a run that was stopped before goes on with it.

        logged: the names of the values that the log has of this step.
        """
        return True

    def evaluate(self, step: int, stop_if_asked: Callable[[], None]) -> dict[str, float]:
        """Measure what belongs to this step, if anything, for the log. All ranks call this.

        `stop_if_asked` raises where the run was asked to stop. Long measurements call it, if `checkpoint_due`.
        """
        return {}

    def due(self, step: int, every: int) -> bool:
        return step > 0 and step % every == 0 or step == self.max_steps

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Everything that the next step depends on, as named arrays, and the counters that go with them."""
        arrays: dict[str, np.ndarray] = {}
        counters: dict[str, Any] = {"updates": {name: opt.updates for name, opt in self.optimizers.items()}}
        for name, optimizer in self.optimizers.items():
            arrays.update(checkpoint.with_prefix(name, optimizer.state()))
        if self.ema is not None:
            arrays.update(checkpoint.with_prefix("ema", self.ema.state_dict()))
            counters["ema_updates"] = self.ema.num_updates
        return arrays, counters

    def load_state(self, arrays: Mapping[str, np.ndarray], counters: Mapping[str, Any], source: str) -> None:
        """Restore what `state` gave. Raises CheckpointError when it does not fit."""
        for name, optimizer in self.optimizers.items():
            # older files do not count the updates: there was one a step
            updates = counters.get("updates", {}).get(name, counters["step"])
            optimizer.load_state(checkpoint.under_prefix(name, arrays), updates, source)
        if self.ema is not None and "ema_updates" in counters:
            self.ema.load_state_dict(checkpoint.under_prefix("ema", arrays))
            self.ema.num_updates = counters["ema_updates"]
        elif self.ema is not None:  # averages were asked for since
            self.ema.restart()


def seed_weights(seed: int) -> None:
    """Seed what initial weights are drawn from, alike on all ranks. Jittor knows 2**31 seeds."""
    jt.set_global_seed(seed % 2**31, different_seed_for_mpi=False)


@functools.lru_cache(maxsize=2)
def _epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(num_samples)


def sample_index(number: int, num_samples: int, seed: int) -> int:
    """The index of the training sample that is the `number`-th drawn. Every epoch is a new permutation."""
    epoch, position = divmod(number, num_samples)
    return int(_epoch_order(num_samples, seed, epoch)[position])


def micro_batches(step: int, batch_size: int, accumulation_steps: int = 1) -> list[range]:
    """The numbers of this rank's samples of a step, one range per accumulation step. Raises ValueError for a remainder.

    A micro-batch is the same samples whatever the number of ranks: each takes its part of all of them.
    """
    size, remainder = divmod(batch_size, accumulation_steps)
    if remainder:
        raise ValueError(f"a batch of {batch_size} does not divide into {accumulation_steps} accumulation steps")
    first = step * batch_size
    return [ranks.share(range(first + i * size, first + (i + 1) * size)) for i in range(accumulation_steps)]
