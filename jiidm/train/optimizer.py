"""AdamW for one network. It sums gradients over micro-batches, checks them before it uses them, and can resume."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jittor as jt
import numpy as np
from jittor import nn

from jiidm.config.schema import AutoencoderTraining, DiffusionTraining, SegmenterConfig
from jiidm.system import ranks
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError
from ldm_jittor.updates import adamw

EPS = 1e-8
"""Adam's epsilon."""


def learning_rate_at(step: int, settings: AutoencoderTraining | DiffusionTraining | SegmenterConfig) -> float:
    """The learning rate of the step after `step` others: linear warm-up, then constant or a half cosine to zero."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    if settings.lr_schedule == "constant":
        return settings.learning_rate * warm
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / settings.max_steps))


class Optimizer:
    """AdamW (Loshchilov & Hutter 2019) on all parameters of `module`.

    learning_rate: gives the rate of a training step, counted from 0. `updates` counts the steps that were taken. Adam's
    bias correction depends on it, so it belongs to the state.
    """

    def __init__(
        self,
        module: nn.Module,
        learning_rate: Callable[[int], float],
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ):
        self.module = module
        self.learning_rate = learning_rate
        self.betas = betas
        self.weight_decay = weight_decay
        self.updates = 0
        self.parameters = dict(module.named_parameters())
        self.gradients: dict[str, jt.Var] = {}
        self.moments = {
            moment: {name: jt.zeros(value.shape).stop_grad() for name, value in self.parameters.items()}
            for moment in ("first_moment", "second_moment")
        }

    def backward(self, loss: jt.Var) -> None:
        """Add the gradients of a scalar to those of the step."""
        trained = {name: value for name, value in self.parameters.items() if not value.is_stop_grad()}
        new = [gradient.stop_grad() for gradient in jt.grad(loss, list(trained.values()), retain_graph=False)]
        if self.gradients:
            new = [(gradient + before).stop_grad() for gradient, before in zip(new, self.gradients.values())]
        self.gradients = dict(zip(trained, new))
        jt.sync(new)

    def average_over_ranks(self) -> None:
        """Make the gradients of the step the means over all ranks."""
        if ranks.size() > 1:
            for gradient in self.gradients.values():
                gradient.assign(ranks.mean(gradient))

    def gradient_norm(self) -> float:
        """The L2 norm of all gradients of the step together. It is not finite where one of them is not."""
        gradients = self.gradients.values()
        if jt.flags.use_cuda:
            return math.sqrt(jt.concat([gradient.reshape(-1).sqr().sum() for gradient in gradients]).sum().item())
        # numpy sees Jittor's memory on the CPU, and its product is four times as fast as Jittor's sum
        flat = [gradient.data.reshape(-1) for gradient in gradients]
        with np.errstate(over="ignore", invalid="ignore"):
            return math.sqrt(sum(float(np.dot(values, values)) for values in flat))

    def step(self, step: int) -> None:
        """Update the parameters by the gradients, at the learning rate of training step `step`."""
        self.updates += 1
        rate, (first, second) = self.learning_rate(step), self.moments.values()
        for name, gradient in self.gradients.items():
            old = self.parameters[name], first[name], second[name]
            new = adamw(
                gradient,
                *old,
                updates=self.updates,
                learning_rate=rate,
                betas=self.betas,
                eps=EPS,
                weight_decay=self.weight_decay,
            )
            for variable, value in zip(old, new):
                variable.update(value)
        jt.sync_all()
        self.discard()

    def discard(self) -> None:
        """Forget the gradients of the step, and free their memory."""
        self.gradients = {}

    def buffers(self) -> dict[str, jt.Var]:
        """Copies of what a forward pass changes without gradients, such as batch norm's averages."""
        kept = {name: value.copy().stop_grad() for name, value in self.parameters.items() if value.is_stop_grad()}
        jt.sync(list(kept.values()))
        return kept

    def restore(self, buffers: Mapping[str, jt.Var]) -> None:
        """Give the module back what `buffers` copied."""
        for name, value in buffers.items():
            self.parameters[name].assign(value)

    def state(self) -> dict[str, np.ndarray]:
        """Parameters and both Adam moments, as named arrays."""
        arrays = checkpoint.with_prefix("parameters", checkpoint.state_dict(self.module))
        for name, values in self.moments.items():
            arrays.update(checkpoint.with_prefix(name, {parameter: v.numpy() for parameter, v in values.items()}))
        return arrays

    def load_state(self, arrays: Mapping[str, np.ndarray], updates: int, source: str) -> None:
        """Restore what `state` gave after `updates` updates. Raises CheckpointError when it does not fit."""
        saved = {name: checkpoint.under_prefix(name, arrays) for name in self.moments}
        for name, arrays_of in saved.items():
            missing = [parameter for parameter in self.parameters if parameter not in arrays_of]
            if missing:
                raise CheckpointError(f"{source}: {name} of {missing[0]} is missing")
        checkpoint.load_into(self.module, checkpoint.under_prefix("parameters", arrays), source)
        for name, values in self.moments.items():
            for parameter, value in values.items():
                value.assign(jt.array(saved[name][parameter]))
        self.updates = updates
