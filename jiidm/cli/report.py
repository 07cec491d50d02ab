"""`jiidm report`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from jiidm.cli import options
from jiidm.errors import InputError


def add_report(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "report",
        _report,
        "Write one HTML page on a training run, an output folder or an experiment. It needs no network.",
        """examples:
  jiidm report runs/demo          curves, samples over time, checkpoints -> runs/demo/report.html
  jiidm report out/               scores, best and worst, from reference to result -> out/_run/report.html
  jiidm report ablation/          the table, with intervals and pictures -> ablation/report.html
train, score, ablate, sweep and table1 write it by themselves.""",
    )
    parser.add_argument("folder", type=Path, metavar="RUN_OR_OUT", help="a run, an output folder or an experiment")
    options.add_mask_options(parser, required=False)


def _report(arguments: argparse.Namespace) -> None:
    from jiidm.experiments import report as experiments
    from jiidm.inference import report as outputs
    from jiidm.inference.inputs import check_inputs
    from jiidm.train.settings import CONFIG_FILE

    folder = arguments.folder
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    if (arguments.masks is None) != (arguments.refs is None):
        raise InputError("give --masks and --refs, or neither")
    if experiments.kind_of(folder):
        tell(experiments.write_report(folder))
    elif (folder / CONFIG_FILE).is_file():
        options.start_jittor_on_cpu()  # what a run keeps of its model is read by the kit's part that loads it
        from jiidm.train import report as runs

        tell(runs.write_report(folder))
    else:
        jobs = check_inputs(arguments.masks, arguments.refs, arguments.data) if arguments.masks else []
        tell(outputs.write_report(folder, jobs))


def tell(page: Path) -> None:
    print(f"report: {page}")
