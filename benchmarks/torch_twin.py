"""PyTorch's side of the benchmarks: the same architecture, weights and inputs, as published code runs them.

.venv-parity/bin/python benchmarks/torch_twin.py step --size mid OUT.npz
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import sizes
from duel import serve

PROJECT = Path(__file__).parents[1]
sys.path += [str(PROJECT), str(PROJECT / "tests" / "parity")]

from torch_inference import decode, encode, step  # noqa: E402
from torch_pipeline import pipeline  # noqa: E402
from torch_training import train_step  # noqa: E402

TASKS = {task.__name__: task for task in (step, train_step, encode, decode, pipeline)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--size", choices=sizes.SIZES, default="mid")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cached", action="store_true", help="step: compute what depends on the mask only once")
    parser.add_argument("--config", default="demo", help="pipeline: whose rounds")
    parser.add_argument("--profile", default="default", help="pipeline: default or fast")
    parser.add_argument("--timesteps", type=json.loads, help="pipeline: every round's, as JSON")
    parser.add_argument("--count", type=int, default=20, help="pipeline: images")
    parser.add_argument("out")
    arguments = parser.parse_args()
    serve(TASKS[arguments.task](arguments), arguments.out)


if __name__ == "__main__":
    main()
