"""How near a guided step comes to the machine's convolution rate.

    python -m benchmarks.speed.limit --size mid full

The script counts the multiplications and additions of the step's convolutions by the textbook. It measures how many of
them Jittor's direct algorithm does in a second of one large convolution. Then it says which share of the step they
would take. Winograd's algorithm needs fewer, so the share can be above 100 %.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.common import cli, jittor_side
from benchmarks.speed import step


def median_seconds(work: Callable[[], object], turns: int) -> float:
    times = []
    for _ in range(turns + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])  # the first one warms up


def direct_rate(turns: int) -> float:
    """Operations a second of a 3x3 convolution of 256 channels on 96x128 pixels."""
    import jittor as jt

    x, weight = jt.ones((1, 256, 96, 128)), jt.ones((256, 256, 3, 3))
    jt.sync_all()
    seconds = median_seconds(lambda: jt.nn.conv2d(x, weight, padding=1).sync(), turns)
    return operations(x, weight, (96, 128)) / seconds


def operations(x, weight, size: tuple[int, int]) -> int:
    return 2 * x.shape[0] * int(np.prod(weight.shape)) * size[0] * size[1]


def count_convolutions(work: Callable[[], object]) -> int:
    """Operations of all convolutions that `work` calls."""
    from ldm_jittor import ops

    original, total = ops.conv2d, 0

    def counted(x, weight, *rest, **more):
        nonlocal total
        y = original(x, weight, *rest, **more)
        total += operations(x, weight, y.shape[2:])
        return y

    ops.conv2d = counted
    try:
        work()
    finally:
        ops.conv2d = original
    return total


def main() -> None:
    arguments = cli.sized_parser(__doc__).parse_args()
    jittor_side.start(arguments.device)
    rate = direct_rate(arguments.turns)
    rows = []
    for size in arguments.size:
        work = step.worker(size, arguments.batch, arguments.device, cached=True)
        total, seconds = count_convolutions(work), median_seconds(work, arguments.turns)
        rows.append((size, total / 1e9, rate / 1e9, total / rate, seconds, 100 * total / rate / seconds))
    cli.show(rows, "size", "step's GFLOP", "direct GFLOP/s", "at that rate, s", "step, s", "share, %")


if __name__ == "__main__":
    main()
