"""Train a part in Jittor, and write what it was given, what came out and how long it took.

.venv/bin/python -m benchmarks.alignment.jittor_end PART FOLDER [--short]
"""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np

from benchmarks.alignment import parts
from benchmarks.common import jittor_side


def main() -> None:
    arguments = parts.end_parser(__doc__).parse_args()
    folder, config = arguments.folder, parts.part_named(arguments.part, arguments.short).load()
    jittor_side.start("cpu")
    import jittor as jt

    from benchmarks.alignment.jittor_stages import STAGES
    from jiidm.train.loop import fit

    stage = STAGES[arguments.part](config, folder)
    fit(stage, folder)
    losses = defaultdict(list)
    for line in (folder / f"{stage.name}.jsonl").read_text().splitlines():
        for name, value in json.loads(line).items():
            losses[name].append(value)
    del losses["step"]
    parts.write_result(folder, losses, stage.rates, np.diff(stage.ends), jittor=jt.__version__)
    np.savez(folder / parts.GIVEN, **stage.given())
    np.savez(folder / parts.ARRAYS, **stage.made())


if __name__ == "__main__":
    main()
