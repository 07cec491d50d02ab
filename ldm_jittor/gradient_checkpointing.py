"""Gradient checkpointing (Chen et al. 2016): keep only the inputs of a block, and compute the rest again on the way
back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jittor as jt


def recomputed(block: Callable[..., jt.Var], parameters: Sequence[jt.Var], *inputs: jt.Var) -> jt.Var:
    """block(*inputs), whose activations are computed again in the backward pass instead of being kept.

    parameters: everything besides its inputs that `block` takes gradients of. The gradients are those of
    block(*inputs).
    """
    return _Recomputed(block, parameters)(*inputs, *parameters)


class _Recomputed(jt.Function):
    def __init__(self, block: Callable[..., jt.Var], parameters: Sequence[jt.Var]):
        self.block = block
        self.parameters = parameters

    def execute(self, *variables: jt.Var) -> jt.Var:
        # the parameters among the variables are stand-ins, through which Jittor passes their gradients on
        self.inputs = variables[: len(variables) - len(self.parameters)]
        with jt.no_grad():
            return self.block(*self.inputs)

    def grad(self, grad_output: jt.Var) -> list[jt.Var]:
        # Jittor computes as late and in an order of its own. What lies above is computed first and these gradients
        # right away, so that the activations of one block only are there at a time.
        grad_output.sync()
        inputs = [value.detach().start_grad() for value in self.inputs]
        output = self.block(*inputs)
        gradients = jt.grad((output * grad_output.detach()).sum(), [*inputs, *self.parameters])
        jt.sync(gradients)
        return gradients
