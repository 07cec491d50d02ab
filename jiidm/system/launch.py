"""Start a command on several ranks with Open MPI, and refuse early what would train apart or hang."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

from jiidm.errors import InputError
from jiidm.system import ranks, watchdog

logger = logging.getLogger(__name__)

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
MPICC_PATH = "mpicc_path"  # Jittor's environment variable
_PR_SET_PDEATHSIG = 1
_STARTED_BY = ("SLURM_STEP_NUM_TASKS",), ("PMI_SIZE", "MPI_LOCALNRANKS")
"""How many processes srun has started, and MPICH."""


def run_ranks(count: int, arguments: Sequence[str]) -> int:
    """Run `jiidm ARGUMENTS` on `count` ranks of this machine. Returns its exit status.

    A signal makes the ranks save and stop; a second one ends them at once. Open MPI would give them one second only.
    """
    process = subprocess.Popen(
        [*mpirun(count), sys.executable, "-m", "jiidm", *arguments],
        env={"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // count)), **os.environ},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches this process only, which passes it on
        preexec_fn=_end_with_parent,
    )
    noted: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(signal.SIGTERM if noted else signal.SIGUSR1)  # Open MPI forwards the latter
        noted.append(number)

    former = {number: signal.signal(number, pass_on) for number in STOPPING}
    try:
        status = process.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    if status and noted:
        return 128 + noted[0]
    if status > 128 and status - 128 not in STOPPING:  # else rank 0 has told
        logger.error("a rank was ended by signal %d; the same command goes on from the last state", status - 128)
    return status if status >= 0 else 128 - status


def mpirun(count: int) -> list[str]:
    """The command that starts ranks here. Raises InputError without Open MPI."""
    require_open_mpi()
    as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    # as many ranks as asked for, each on all cores: Open MPI would bind a rank and its threads to one core
    return ["mpirun", "-q", *as_root, "--oversubscribe", "--bind-to", "none", "-np", str(count)]


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def require_open_mpi() -> None:
    """Raises InputError where mpirun or mpicc, which Jittor compiles its MPI operators with, is not Open MPI's."""
    remedy = f"install it: {'' if os.geteuid() == 0 else 'sudo '}apt-get install -y openmpi-bin libopenmpi-dev"
    mpicc = os.environ.get(MPICC_PATH) or "mpicc"
    for name, option in (("mpirun", "--version"), (mpicc, "--showme:version")):
        if not shutil.which(name):
            raise InputError(f"{name} is not there, and ranks need Open MPI; {remedy}")
        done = subprocess.run([name, option], capture_output=True, text=True, timeout=60)
        if "Open MPI" not in done.stdout + done.stderr:
            raise InputError(f"{shutil.which(name)} is not Open MPI's, and Jittor works with no other; {remedy}")


def check_start(environment: Mapping[str, str] = os.environ) -> None:
    """Raises InputError where another launcher has started this process beside others: each would be a rank 0.

    The first of them tells. The others raise SystemExit with the same status.
    """
    if ranks.SIZE in environment:
        if ranks.size() > 1:
            require_open_mpi()
        return
    srun, mpich = (any(_number(environment, name) > 1 for name in names) for names in _STARTED_BY)
    if not (srun or mpich):
        return
    if _number(environment, "SLURM_PROCID") or _number(environment, "PMI_RANK"):
        raise SystemExit(2)
    told = "and each process would train alone"
    if srun:
        raise InputError(f"srun has started this without PMIx, {told}; use srun --mpi=pmix, or mpirun within the job")
    raise InputError(f"the mpirun of MPICH or its kin has started this, {told}; use that of Open MPI")


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    return int(value) if value.isdigit() else 0


def start_watchdog() -> None:
    """Have this rank ended when it hangs, see `watchdog`."""
    if ranks.size() > 1 and watchdog.PROC.is_dir():
        command = [sys.executable, "-IS", watchdog.__file__, os.getpid(), ranks.rank(), watchdog.LIMIT]
        subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL)
