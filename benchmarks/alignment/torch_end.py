"""Train a part in PyTorch, from the start and on the batches that Jittor's end has written.

.venv-parity/bin/python -m benchmarks.alignment.torch_end PART FOLDER --given GIVEN.npz [--short]
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.alignment import parts
from benchmarks.common.duel import PROJECT

sys.path.append(str(PROJECT / "tests" / "parity"))  # for the networks that the parity tests use


def main() -> None:
    parser = parts.end_parser(__doc__)
    parser.add_argument("--given", required=True, help="what Jittor's end has written")
    parser.add_argument("--without-onednn", action="store_true", help="PyTorch's own convolutions: other sums")
    arguments = parser.parse_args()
    from benchmarks.alignment.torch_trainings import TRAININGS

    torch.set_num_threads(parts.threads())
    torch.backends.mkldnn.enabled = not arguments.without_onednn
    config = parts.part_named(arguments.part, arguments.short).load()
    training = TRAININGS[arguments.part](config, dict(np.load(arguments.given)))
    losses, rates, ends = defaultdict(list), [], [time.perf_counter()]
    for step in tqdm(range(training.steps), desc=f"PyTorch: {arguments.part}", unit="step"):
        for name, value in training.step(step).items():
            losses[name].append(value)
        rates.append(training.rate)
        ends.append(time.perf_counter())
    parts.write_result(arguments.folder, losses, rates, np.diff(ends), torch=torch.__version__)
    np.savez(arguments.folder / parts.ARRAYS, **training.made())


if __name__ == "__main__":
    main()
