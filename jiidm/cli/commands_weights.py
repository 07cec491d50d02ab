"""What the commands that make weights of other weights do; like `commands`, with imports where they are needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from jiidm.errors import InputError


def convert(arguments) -> int:
    from jiidm.system import runtime

    runtime.prepare("cpu")
    from jiidm.model.convert import convert

    target = arguments.target
    faults = convert(arguments.sources, target, arguments.config, arguments.set, arguments.only)
    if faults:
        for fault in faults:
            print(f"error: {fault}", file=sys.stderr)
        print(f"error: {target}: not written, {len(faults)} names do not fit the config", file=sys.stderr)
        return 2
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


def average(arguments) -> int:
    from jiidm.system import runtime

    runtime.prepare("cpu")
    from jiidm.model import average as averages
    from jiidm.model.convert import check_absent
    from jiidm.train.checkpoints import average_best

    sources, target, best = arguments.sources, arguments.out, arguments.best
    if best is not None and (best < 2 or len(sources) > 1):
        raise InputError(f"--best {best}: takes 2 or more, and one training run")
    if best is None and len(sources) < 2:
        raise InputError(f"{sources[0]}: one checkpoint has no average, give two or more, or --best N and a run")
    check_absent(target)
    weights = _shares(arguments.weights, best or len(sources))
    if best:
        average_best(sources[0], target, weights)
        return 0
    averages.write_mean(sources, target, weights)
    print(f"{target}: {' + '.join(f'{weight:.3g} x {source}' for source, weight in zip(sources, weights))}")
    return 0


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    from ldm_jittor import averaging

    if weights is not None and len(weights) != count:
        raise InputError(f"--weights: {len(weights)} for {count} checkpoints")
    try:
        return averaging.normalised(weights or [1.0] * count)
    except ValueError as error:
        raise InputError(f"--weights: {error}") from None
