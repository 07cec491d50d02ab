"""PyTorch's side of the benchmarks: the same architecture, weights and inputs, as published code runs them.

.venv-parity/bin/python -m benchmarks.common.torch_twin step --size mid OUT.npz
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from benchmarks.common import sizes
from benchmarks.common.duel import PROJECT, serve

sys.path.append(str(PROJECT / "tests" / "parity"))  # for the networks that the parity tests use

# a task imports its own module only: what another one needs is not to count as its memory
MODULES = {
    "step": "torch_step",
    "train_step": "torch_training",
    "encode": "torch_autoencoder",
    "decode": "torch_autoencoder",
    "pipeline": "torch_pipeline",
    "generator": "torch_generator",
    "convolution": "torch_convolution",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=MODULES)
    parser.add_argument("--size", choices=sizes.SIZES, default="mid")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cached", action="store_true", help="step: compute what depends on the mask only once")
    parser.add_argument("--config", default="demo", help="pipeline: whose rounds")
    parser.add_argument("--profile", default="default", help="pipeline: default or fast")
    parser.add_argument("--timesteps", type=json.loads, help="pipeline: every round's, as JSON")
    parser.add_argument("--count", type=int, default=20, help="pipeline: images")
    parser.add_argument("--generator", help="generator: one of benchmarks.common.gans.CASES")
    parser.add_argument("--case", help="convolution: one of benchmarks.common.convolutions.CASES")
    parser.add_argument("--gradients", action="store_true", help="convolution: with its gradients")
    parser.add_argument("out")
    arguments = parser.parse_args()
    task = getattr(importlib.import_module(f"benchmarks.common.{MODULES[arguments.task]}"), arguments.task)
    serve(task(arguments), arguments.out)


if __name__ == "__main__":
    main()
