"""What both training loops share: optimisers that accumulate and resume, batches loaded ahead, sample order."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.config.schema import AutoencoderTraining, DiffusionTraining
from jiidm.seeding import generator
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """While the block runs Ctrl-C only sets the event, for the loop to stop between two steps, where parameters,
    moments, averages and counters belong together. A second Ctrl-C interrupts at once."""
    asked = threading.Event()
    previous = signal.getsignal(signal.SIGINT)

    def note(*_) -> None:
        asked.set()
        signal.signal(signal.SIGINT, previous)

    if previous is not signal.SIG_IGN:  # a job in the background is not to be stopped by Ctrl-C
        signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, previous)


@functools.lru_cache(maxsize=2)
def _epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(num_samples)


def sample_index(number: int, num_samples: int, seed: int) -> int:
    """Which training sample is the `number`-th drawn; every epoch is a new permutation."""
    epoch, position = divmod(number, num_samples)
    return int(_epoch_order(num_samples, seed, epoch)[position])


def micro_batches(step: int, batch_size: int, accumulation_steps: int) -> list[range]:
    """The numbers of a step's samples, one range per accumulation step."""
    size = batch_size // accumulation_steps
    first = step * batch_size
    return [range(first + i * size, first + (i + 1) * size) for i in range(accumulation_steps)]


def learning_rate_at(step: int, training: AutoencoderTraining | DiffusionTraining) -> float:
    """The learning rate of the update after `step` others: linear warm-up, then constant or a half cosine to zero."""
    warm = min(1.0, (step + 1) / max(1, training.warmup_steps))
    if training.lr_schedule == "constant":
        return training.learning_rate * warm
    return training.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / training.max_steps))


class Trainer:
    """AdamW on the parameters of one module, resumable, with gradient accumulation."""

    def __init__(self, module: nn.Module, betas=(0.9, 0.999), weight_decay: float = 0.0):
        self.module = module
        self.names = [name for name, _ in module.named_parameters()]
        parameters = [parameter for _, parameter in module.named_parameters()]
        self.optimizer = nn.AdamW(parameters, 0.0, betas=betas, weight_decay=weight_decay)

    def step(self, losses: Iterator[jt.Var], count: int, step: int, learning_rate: float) -> list[float]:
        """One update from the mean of `count` losses, drawn one after the other so that only one graph lives.

        step: updates done so far. Returns the losses as floats.
        """
        self.optimizer.lr = learning_rate
        values = []
        for loss in losses:
            self.optimizer.backward(loss / count)
            jt.sync(self.optimizer.param_groups[0]["grads"])
            values.append(loss.item())
        # Jittor counts every backward pass as a step, which would throw Adam's bias correction off
        self.optimizer.n_step = step + 1
        self.optimizer.step()
        jt.sync_all()
        # Jittor would hold them until the next ones are there: one copy of all parameters more at the peak
        del self.optimizer.param_groups[0]["grads"]
        return values

    def state(self) -> dict[str, np.ndarray]:
        """Parameters and both Adam moments, as named arrays."""
        group = self.optimizer.param_groups[0]
        moments = {"first_moment": group["m"], "second_moment": group["values"]}
        arrays = checkpoint.with_prefix("parameters", checkpoint.state_dict(self.module))
        for name, values in moments.items():
            arrays.update(checkpoint.with_prefix(name, {n: v.numpy() for n, v in zip(self.names, values)}))
        return arrays

    def load_state(self, arrays: dict[str, np.ndarray], source: str) -> None:
        """Restore what `state` gave. Raises CheckpointError when it does not fit."""
        checkpoint.load_into(self.module, checkpoint.under_prefix("parameters", arrays), source)
        group = self.optimizer.param_groups[0]
        for name, values in (("first_moment", group["m"]), ("second_moment", group["values"])):
            saved = checkpoint.under_prefix(name, arrays)
            missing = [parameter_name for parameter_name in self.names if parameter_name not in saved]
            if missing:
                raise CheckpointError(f"{source}: {name} of {missing[0]} is missing")
            for parameter_name, value in zip(self.names, values):
                value.assign(jt.array(saved[parameter_name]))


def save_state(path: str | os.PathLike, parts: dict[str, dict[str, np.ndarray]], metadata: dict[str, Any]) -> None:
    """Write several parts' arrays to one resumable checkpoint."""
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        arrays.update(checkpoint.with_prefix(name, part))
    checkpoint.save(path, arrays, metadata)


def load_state(path: Path, names: Sequence[str]) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]] | None:
    """The parts and metadata `save_state` wrote, or None where there is no such file yet."""
    if not path.exists():
        return None
    stored = checkpoint.load(path)
    return {name: checkpoint.under_prefix(name, stored.arrays) for name in names}, stored.metadata
