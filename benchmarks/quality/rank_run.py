"""One training run of `benchmarks.quality.ranks`: the losses of every step, each step alone, all weights at the end.

    mpirun -np 2 .venv/bin/python -m benchmarks.quality.rank_run OUT train --config smoke --run RUN --device cpu

Before the ranks do every tenth step, rank 0 does the same step alone on the whole batch, and goes back. So it is
compared from equal weights, whatever training has made of the rounding of the steps before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jiidm.system import ranks

Vectors = dict[str, np.ndarray]
"""Each network's numbers in a row, by its name."""


EVERY = 10
"""Steps. One process takes about as long for a step as all ranks together."""


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Relative L2."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


class Recorder:
    """Takes the place of the loop's `_update`, which it calls."""

    def __init__(self, update: Callable[..., Any]):
        self.update = update
        self.stages: dict[str, Any] = {}
        self.losses: dict[str, list[float]] = defaultdict(list)
        self.gradients: dict[str, float] = defaultdict(float)
        """The largest difference of a step's gradients, by network."""
        self.steps: dict[str, float] = defaultdict(float)
        """The largest difference of the weights after one step."""
        self._seen: dict[Any, Vectors] = {}

    def __call__(self, stage: Any, batch: Any, step: int) -> Any:
        is_compared = ranks.size() > 1 and step % EVERY == 0
        alone = ranks.on_first(lambda: self._alone(stage, step)) if is_compared else None
        self._seen.clear()
        losses = self.update(stage, batch, step)
        self.stages[stage.name] = stage
        self.losses[stage.name].append(losses["loss"])
        if alone:
            for worst, expected, found in (
                (self.gradients, alone[0], self._gradients(stage)),
                (self.steps, alone[1], weights_of(stage)),
            ):
                for name, values in expected.items():
                    worst[name] = max(worst[name], difference(found[name], values))
        return losses

    def _alone(self, stage: Any, step: int) -> tuple[Vectors, Vectors]:
        """Gradients and weights of the step as one process does it."""
        arrays, counters = stage.state()
        self._seen.clear()
        with _batch_norm_alone():
            self.update(stage, stage.load_batch(step), step)
        found = self._gradients(stage), weights_of(stage)
        stage.load_state(arrays, {**counters, "step": step}, "the state before the step")
        return found

    def see(self, optimizer: Any) -> None:
        """Keep the gradients that an optimizer will use."""
        self._seen[optimizer] = {name: gradient.numpy() for name, gradient in optimizer.gradients.items()}

    def _gradients(self, stage: Any) -> Vectors:
        named = {name: self._seen[optimizer] for name, optimizer in stage.optimizers.items() if optimizer in self._seen}
        return by_network(stage.name, {f"{name}.{key}": v for name, found in named.items() for key, v in found.items()})


@contextlib.contextmanager
def _batch_norm_alone() -> Iterator[None]:
    """While the block runs, Jittor's own batch norm, which the segmenter has, does not wait for other ranks."""
    import jittor as jt

    in_mpi, jt.in_mpi = jt.in_mpi, False
    try:
        yield
    finally:
        jt.in_mpi = in_mpi


def weights_of(stage: Any) -> Vectors:
    """Parameters and buffers."""
    split = ((key.split(".", 2), values) for key, values in stage.state()[0].items())
    return by_network(stage.name, {f"{net}.{name}": v for (net, kind, name), v in split if kind == "parameters"})


def by_network(stage: str, arrays: Mapping[str, np.ndarray]) -> Vectors:
    """A GAN's encoder counts apart from its generator, though one optimizer trains both."""
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for name, values in arrays.items():
        optimizer, network = name.split(".")[:2]
        found[f"{stage}: {network if network in ('generator', 'encoder') else optimizer}"].append(values.ravel())
    return {name: np.concatenate(values).astype(np.float64) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("words", nargs=argparse.REMAINDER, help="of the command")
    arguments = parser.parse_args()

    from benchmarks.common import jittor_side

    jittor_side.start("cpu")
    from jiidm.cli import main as cli
    from jiidm.train import loop, optimizer

    recorder = loop._update = Recorder(loop._update)
    norm = optimizer.Optimizer.gradient_norm

    def gradient_norm(self: optimizer.Optimizer) -> float:
        recorder.see(self)
        return norm(self)

    optimizer.Optimizer.gradient_norm = gradient_norm
    if status := cli.main(arguments.words):
        raise SystemExit(status)
    if ranks.is_first():
        weights = {name: v for stage in recorder.stages.values() for name, v in weights_of(stage).items()}
        np.savez(arguments.out.with_suffix(".npz"), **weights)
        told = {"losses": recorder.losses, "gradients": recorder.gradients, "steps": recorder.steps}
        arguments.out.with_suffix(".json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
