"""What the Jittor sides of the benchmarks share."""

from __future__ import annotations

from benchmarks.common import duel, sizes


def start(device: str) -> None:
    from jiidm.system import runtime

    runtime.prepare(device)
    runtime.use_device(device)


def serve(work: duel.Work, path: str) -> None:
    import jittor as jt

    duel.serve(work, path, release=jt.gc)


def load_random(module):
    """Give `module` the weights that its PyTorch twin gets too."""
    parameters = dict(module.named_parameters())
    for name, values in sizes.random_weights((name, tuple(value.shape)) for name, value in parameters.items()):
        parameters[name].assign(values)
        # weak, the default, is to compute all older variables along: the initial weights, which nobody needs
        parameters[name].sync(weak_sync=False)
    return module
