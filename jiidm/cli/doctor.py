"""`jiidm doctor`."""

from __future__ import annotations

import argparse
from typing import Any

from jiidm.cli import options
from jiidm.errors import InputError
from jiidm.system import launch, ranks
from jiidm.system.jittor_errors import reason


def add_doctor(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "doctor",
        _doctor,
        "Check whether this machine can run Jittor, and say what to mend.",
        """examples:
  jiidm doctor                 what is installed, and one convolution
  jiidm doctor --selftest      whether the device computes rightly, and how fast; run it before long trainings""",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true", help="do not import Jittor")
    help = "compare every operator with its formula, and networks and training steps with the CPU, in two minutes"
    which.add_argument("--selftest", action="store_true", help=help)
    help = "instead let N ranks reduce a number, and tell what each of them computes on"
    which.add_argument("--ranks", type=int, metavar="N", help=help)
    options.add_device_option(parser)


def _doctor(arguments: argparse.Namespace) -> int:
    if arguments.ranks is not None or ranks.started_by_mpi():
        return _report_ranks(arguments)
    if arguments.selftest:
        _start(arguments.device)
        return _selftest()
    if arguments.device != "auto":
        raise InputError(f"--device {arguments.device}: the checks look at every device; only --selftest takes one")
    from jiidm.system import doctor

    return doctor.run(arguments.quick)


def _start(device: str) -> None:
    """Raises InputError where Jittor does not even start."""
    try:
        options.start_jittor(device)
    except (ImportError, OSError, RuntimeError) as error:
        told = f"--selftest: Jittor does not start on this device: {reason(error)}"
        raise InputError(f"{told}; jiidm doctor names what to mend, --device cpu leaves the GPU out") from error


def _selftest() -> int:
    import jittor as jt

    from jiidm.experiments.selftest.checks import as_table, rounds_products
    from jiidm.experiments.selftest.run import run

    device, rows = "cuda" if jt.flags.use_cuda else "cpu", run()
    failed = [row.name for row in rows if not row.passes(device)]
    print(as_table(rows, device))
    for row in rows:
        if row.failure:
            print(f"{row.name} does not run: {row.failure}")
    if device == "cuda" and rounds_products(rows, device):
        print("products are rounded to TF32 here; NVIDIA_TF32_OVERRIDE=0 in the environment keeps them in float32")
    print(f"{len(rows) - len(failed)} of {len(rows)} checks passed{'; wrong: ' + ', '.join(failed) if failed else ''}")
    return int(bool(failed))


def _report_ranks(arguments: argparse.Namespace) -> int:
    launch.check_start()
    if not ranks.started_by_mpi():
        if arguments.ranks < 1:
            raise InputError(f"--ranks {arguments.ranks}: must be 1 or more")
        return launch.run_ranks(arguments.ranks, arguments.words)
    from jiidm.system import rank_report, runtime

    chosen = runtime.prepare(arguments.device).device
    runtime.use_device(chosen)
    told, works = rank_report.report(chosen)
    print(told)
    return int(not works)
