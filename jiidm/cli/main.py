"""The frame of the command line: it finds the command, runs it, and returns the exit status."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence

import jiidm
from jiidm.cli import (
    console,
    data,
    doctor,
    experiments,
    infer,
    leaderboard,
    paint,
    report,
    scores,
    table1,
    train,
    weights,
)
from jiidm.cli.options import Parser
from jiidm.errors import InputError, Stopped
from jiidm.system import memory, ranks
from jiidm.system.cache import check_working_folder
from ldm_jittor.errors import CheckpointError

EXIT_STATUSES = """exit status:
  0    done
  1    doctor found something to mend
  2    an input, a file or an option is wrong: one line on stderr says which, and nothing is half-written
  130  Ctrl-C stopped it; train, infer, table1, ablate and sweep go on when the same command is given again
  143  SIGTERM did so, 138 SIGUSR1, 129 SIGHUP; a training run saves its state first
  141  whoever read the output closed it, as `| head` does
Any other status, with a traceback, is a bug."""

KEPT = "what was finished is kept, and the same command goes on"
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status, as `jiidm --help` lists them.

    A rank that fails among others ends its process at once. Python would wait for them, who wait for this one.
    """
    console.fill_closed_streams()
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] in (["train"], ["doctor"]):
        ranks.join_srun()
    elif ranks.size() > 1:
        console.tell_error(f"mpirun has started {ranks.size()} ranks, which only train takes; see --shard")
        return 2
    if ranks.size() == 1:
        return _main(words)
    console.keep_to_first_rank()
    try:
        status = _main(words)
    except Exception:
        traceback.print_exc()
        status = 1
    if status:
        sys.stdout.flush()
        os._exit(status)
    return 0


def _main(words: list[str]) -> int:
    try:
        with console.showing_log(), _forgiving_stdout():
            arguments = _parser().parse_args(words)
            arguments.words = words
            check_working_folder()
            return arguments.run(arguments) or 0
    except (InputError, CheckpointError) as error:
        console.tell_error(error)
        return 2
    except KeyboardInterrupt as stop:
        if ranks.is_first():
            print(f"\ninterrupted; {KEPT}", file=sys.stderr)
        return stop.status if isinstance(stop, Stopped) else 128 + signal.SIGINT
    except BrokenPipeError:
        console.give_up(sys.stdout)
        return 128 + signal.SIGPIPE
    except Exception as error:
        if shortage := memory.shortage(error):
            console.tell_error(f"no memory is left ({shortage}); {KEPT}")
        elif isinstance(error, OSError):
            console.tell_error(_told(error))
        else:
            raise
        try:
            sys.stdout.flush()
        except OSError:
            console.give_up(sys.stdout)
        return 2


def _told(error: OSError) -> str:
    """What the system refuses, such as a write to a full disk, with the name of the file."""
    fault = "cannot be written" if error.errno in UNWRITABLE else "cannot be used"
    return f"{error.filename2 or error.filename or 'the output'}: {fault} ({error.strerror or error})"


def _parser() -> Parser:
    parser = Parser(
        prog="jiidm",
        description="Semantic landscape synthesis with IIDM in Jittor.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"jiidm {jiidm.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    train.add_train(commands)
    infer.add_infer(commands)
    paint.add_paint(commands)
    scores.add_score(commands)
    report.add_report(commands)
    scores.add_submit(commands)
    scores.add_compare(commands)
    leaderboard.add_leaderboard(commands)
    table1.add_table1(commands)
    experiments.add_ablate(commands)
    experiments.add_sweep(commands)
    experiments.add_schedule(commands)
    data.add_data(commands)
    weights.add_convert(commands)
    weights.add_average(commands)
    weights.add_export(commands)
    doctor.add_doctor(commands)
    return parser


@contextlib.contextmanager
def _forgiving_stdout() -> Iterator[None]:
    """While the block runs, characters that stdout cannot encode are printed as escapes: a file name may hold any.

    A closed pipe is noticed at the block's end, not when Python ends.
    """
    stdout = sys.stdout
    errors = stdout.errors
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stdout.flush()
        if isinstance(stdout, io.TextIOWrapper):
            stdout.reconfigure(errors=errors)
