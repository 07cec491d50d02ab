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
        self.updates = 0
        self.names = [name for name, _ in module.named_parameters()]
        parameters = [parameter for _, parameter in module.named_parameters()]
        self._adamw = nn.AdamW(parameters, 0.0, betas=betas, weight_decay=weight_decay)
        self._group = self._adamw.param_groups[0]

    def backward(self, loss: jt.Var) -> None:
        """Add the gradients of a scalar to those of the step."""
        in_mpi, jt.in_mpi = jt.in_mpi, False  # else Jittor reduces here, at every micro-batch
        try:
            self._adamw.backward(loss)
        finally:
            jt.in_mpi = in_mpi
        jt.sync(self._group["grads"])

    def average_over_ranks(self) -> None:
        """Make the gradients of the step the means over all ranks."""
        if ranks.size() > 1:
            for parameter, gradient in zip(self._group["params"], self._group["grads"]):
                if not parameter.is_stop_grad():
                    gradient.assign(ranks.mean(gradient))

    def gradient_norm(self) -> float:
        """The L2 norm of all gradients of the step together. It is not finite where one of them is not."""
        gradients = self._group["grads"]
        if jt.flags.use_cuda:
            return math.sqrt(jt.concat([gradient.reshape(-1).sqr().sum() for gradient in gradients]).sum().item())
        # numpy sees Jittor's memory on the CPU, and its product is four times as fast as Jittor's sum
        flat = [gradient.data.reshape(-1) for gradient in gradients]
        with np.errstate(over="ignore", invalid="ignore"):
            return math.sqrt(sum(float(np.dot(values, values)) for values in flat))

    def step(self, step: int) -> None:
        """Update the parameters by the gradients, at the learning rate of training step `step`."""
        self.updates += 1
        if jt.flags.use_cuda:
            self._adamw.lr = self.learning_rate(step)
            # Jittor counts every backward pass as a step, which would spoil Adam's bias correction
            self._adamw.n_step = self.updates
            self._adamw.step()
        else:
            self._step_on_cpu(self.learning_rate(step))
        jt.sync_all()
        self._free_gradients()

    def _step_on_cpu(self, learning_rate: float) -> None:
        engine, group = self._adamw, self._group
        settings = {"betas": engine.betas, "eps": engine.eps, "weight_decay": engine.weight_decay}
        settings |= {"updates": self.updates, "learning_rate": learning_rate}
        for parameter, gradient, first, second in zip(*(group[key] for key in ("params", "grads", "m", "values"))):
            if not parameter.is_stop_grad():
                made = adamw(parameter, gradient, first, second, **settings)
                for old, new in zip((parameter, first, second), made):
                    old.update(new)
        engine.post_step()

    def discard(self) -> None:
        """Forget the gradients of the step."""
        self._adamw.zero_grad()
        self._free_gradients()

    def _free_gradients(self) -> None:
        # Jittor would hold them until the next ones are there: at the peak one more copy of all parameters
        del self._group["grads"]

    def buffers(self) -> dict[str, jt.Var]:
        """Copies of what a forward pass changes without gradients, such as batch norm's averages."""
        values = zip(self.names, self._group["params"])
        copies = {name: value.copy().stop_grad() for name, value in values if value.is_stop_grad()}
        jt.sync(list(copies.values()))
        return copies

    def restore(self, buffers: Mapping[str, jt.Var]) -> None:
        """Give the module back what `buffers` copied."""
        for name, value in zip(self.names, self._group["params"]):
            if name in buffers:
                value.assign(buffers[name])

    @property
    def moments(self) -> dict[str, dict[str, jt.Var]]:
        """Adam's `first_moment` and `second_moment`, each by the parameters' names."""
        first, second = (dict(zip(self.names, self._group[key])) for key in ("m", "values"))
        return {"first_moment": first, "second_moment": second}

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
            missing = [parameter for parameter in self.names if parameter not in arrays_of]
            if missing:
                raise CheckpointError(f"{source}: {name} of {missing[0]} is missing")
        checkpoint.load_into(self.module, checkpoint.under_prefix("parameters", arrays), source)
        for name, values in self.moments.items():
            for parameter, value in values.items():
                value.assign(jt.array(saved[name][parameter]))
        self.updates = updates
