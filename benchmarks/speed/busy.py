"""`jiidm infer` on a busy machine: beside endless loops, one on each CPU, and two calls at once.

    python -m benchmarks.speed.busy
    taskset -c 0,1 python -m benchmarks.speed.busy      where there are more CPUs

The situations take turns. "plain" is OpenMP's own behaviour: all threads whatever the load, which wait busily for long.
Every call is a process of its own, timed from its start to its end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.common import cli
from benchmarks.common.duel import PROJECT

PLAIN = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), "GOMP_SPINCOUNT": "300000"}
"""A number that the user has set stays as it is. 300,000 turns are the default of GCC's OpenMP."""
LOOP = [sys.executable, "-c", "while True: pass"]
Environment = Mapping[str, str]


@contextlib.contextmanager
def loops(number: int) -> Iterator[None]:
    """Endless single-threaded programs."""
    running = [subprocess.Popen(LOOP) for _ in range(number)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def write_inputs(folder: Path, count: int) -> list[str]:
    """`count` masks and references; the arguments of `infer` that name them."""
    from jiidm.data.references import write_references
    from jiidm.data.synthetic.dataset import write_dataset
    from jiidm.size import Size

    write_dataset(folder, count, Size(192, 256), seed=0, progress=False)
    names = sorted(path.stem for path in (folder / "labels").iterdir())
    write_references(folder / "references.json", {f"{name}.png": f"{name}.jpg" for name in names})
    return [str(folder / "labels"), str(folder / "references.json")]


def seconds_of(inputs: list[str], folder: Path, environment: Environment, calls: int = 1) -> float:
    """Until the last of `calls` at once has ended."""
    own = {name: value for name, value in os.environ.items() if name not in PLAIN}
    with tempfile.TemporaryDirectory(dir=folder) as out:
        start = time.perf_counter()
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "jiidm", "infer", *inputs, f"{out}/{number}", "--device", "cpu"],
                env={**own, **environment},
                cwd=PROJECT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for number in range(calls)
        ]
        if any(process.wait() for process in running):
            sys.exit("error: jiidm infer failed")
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--count", type=int, default=4, help="images a call")
    parser.add_argument("--with-plain", action="store_true", help="the plain setting beside the loops too: takes long")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="environment of the kit's own calls, to try others"
    )
    arguments = parser.parse_args()
    cpus, own = len(os.sched_getaffinity(0)), dict(setting.split("=", 1) for setting in arguments.set)
    situations: dict[str, tuple[int, int, Environment]] = {
        "idle, plain": (0, 1, PLAIN),
        "idle": (0, 1, own),
        f"{cpus} busy loops": (cpus, 1, own),
        "two calls at once": (0, 2, own),
    }
    if arguments.with_plain:
        situations[f"{cpus} busy loops, plain"] = (cpus, 1, PLAIN)
    times: dict[str, list[float]] = {name: [] for name in situations}
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(Path(folder, "inputs"), arguments.count)
        seconds_of(inputs, Path(folder), own)  # compiles what is not compiled yet
        for turn in range(arguments.turns):
            for name, (number, calls, environment) in situations.items():
                with loops(number):
                    times[name].append(seconds_of(inputs, Path(folder), environment, calls))
                print(f"turn {turn + 1} of {arguments.turns}: {name} {times[name][-1]:.1f} s", file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = [[name, value, value / medians["idle"]] for name, value in medians.items()]
    cli.show(rows, f"{arguments.count} images, {cpus} CPUs", "seconds", "times idle")
    print(f"cost when idle: {100 * (medians['idle'] / medians['idle, plain'] - 1):+.1f} %")


if __name__ == "__main__":
    main()
