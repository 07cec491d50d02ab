"""`jiidm doctor`."""

from __future__ import annotations

import argparse
from typing import Any

from jiidm.cli import options


def add_doctor(commands: Any) -> None:
    parser = options.add_command(
        commands, "doctor", _doctor, "Check whether this machine can run Jittor, and say what to mend."
    )
    parser.add_argument("--quick", action="store_true", help="do not import Jittor")


def _doctor(arguments: argparse.Namespace) -> int:
    from jiidm.system import doctor

    return doctor.run(arguments.quick)
