"""A training step of the U-Net on several ranks, one thread each: how much sooner the same batch is done.

    python -m benchmarks.speed.ranks --config demo --ranks 1 2

It takes the config's whole batch, of random latents, and turns: 1 rank, 2 ranks, 1 rank, ... Each turn starts the ranks
anew, does one step that does not count, and times three. A machine with fewer free cores than ranks shows no gain.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import cli, jittor_side
from jiidm.system import launch, ranks

STEPS = 3


def work(name: str, out: Path) -> None:
    """On each rank; the first writes the seconds of each step."""
    jittor_side.start("cpu")
    import jittor as jt

    from jiidm.config.load import load_config
    from jiidm.train.forecast import stage_on_random_latents
    from jiidm.train.loop import _update

    stage = stage_on_random_latents(load_config(name))
    stage.max_steps = STEPS + 1
    seconds = []
    for step in range(STEPS + 1):
        batch = stage.load_batch(step)
        ranks.barrier()
        start = time.perf_counter()
        _update(stage, batch, step)
        stage.ema.update()
        jt.sync_all(True)
        seconds.append(max(ranks.gather(time.perf_counter() - start)))
    if ranks.is_first():
        out.write_text(" ".join(map(str, seconds[1:])))


def turn(name: str, count: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "seconds"
        command = [*(launch.mpirun(count) if count > 1 else []), sys.executable, "-m", "benchmarks.speed.ranks"]
        command += ["--config", name, "--worker", str(out)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=sys.stderr)
        return [float(word) for word in out.read_text().split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="demo")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--worker", type=Path, metavar="OUT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.config, arguments.worker)
        return
    found: dict[int, list[float]] = {count: [] for count in arguments.ranks}
    for _ in range(arguments.turns):
        for count, seconds in found.items():
            seconds += turn(arguments.config, count)
    medians = {count: statistics.median(seconds) for count, seconds in found.items()}
    first = medians[arguments.ranks[0]]
    rows = [
        [count, f"{median:.2f}", f"{min(found[count]):.2f} to {max(found[count]):.2f}", f"{first / median:.2f}"]
        for count, median in medians.items()
    ]
    cli.show(rows, "ranks", "s a step", "range", "times as fast")


if __name__ == "__main__":
    main()
