"""No memory left: one line, wherever it is noticed.

Python and numpy raise MemoryError. Others only tell it in words, and C++ beside Python's threads ends the process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import zlib
from pathlib import Path

from jiidm.errors import InputError

LEAST_ADDRESSES, LEAST_FILES = 1 << 30, 32
"""Bytes and open files without which Jittor does not even start."""
TRAINING, EACH_THREAD = 1450 << 20, 64 << 20
"""Bytes of addresses that training of the smallest config takes, and each thread of OpenMP; measured with 1 to 8."""
SOURCE = Path(__file__).with_name("memory.cpp")
_NO_NEW_PROCESS = ("can't start new thread", "resource temporarily unavailable", "cannot fork")
_SIGNS = (
    *("cannot allocate memory", "failed to map segment", "out of memory", "out_of_memory", "insufficient memory"),
    *("bad_alloc", "alloc_failed", "cudaerrormemoryallocation", "could not create a memory object"),
    *_NO_NEW_PROCESS,
)
"""What the system, Jittor, oneDNN, OpenCV, CUDA and Python say, in lower case. A thread needs memory for its stack."""


def require_limits() -> None:
    """Raises InputError where `ulimit` leaves this process less than Jittor needs to start."""
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= addresses < LEAST_ADDRESSES:  # -1 is no limit
        told = f"memory is limited to {addresses >> 20} MiB (ulimit -v)"
        raise InputError(f"{told}, and Jittor does not start below {LEAST_ADDRESSES >> 20}; raise the limit")
    if 0 <= files < LEAST_FILES:
        told = f"open files are limited to {files} (ulimit -n)"
        raise InputError(f"{told}, and Jittor does not start below {LEAST_FILES}; raise the limit")


def require_room_to_train() -> None:
    """Raises InputError where `ulimit -v` leaves less than any training takes: libraries crash or hang there."""
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    if addresses == resource.RLIM_INFINITY:
        return
    threads = os.environ.get("OMP_NUM_THREADS", "")
    need = TRAINING + EACH_THREAD * (int(threads) if threads.isdecimal() else len(os.sched_getaffinity(0)))
    if addresses < need:
        told = f"memory is limited to {addresses >> 20} MiB (ulimit -v)"
        raise InputError(f"{told}, and training takes {need >> 20} at least; raise the limit, or set OMP_NUM_THREADS=1")


def end_in_one_line() -> None:
    """From now on an allocation that fails in C++ raises, or ends the process with status 2 and a line on stderr.

    A crash where hardly any memory is left does the latter, too.
    Jittor would compute with the null pointer. What it allocates raises instead, once it has given back what it keeps
    for later. `new` fails in threads of its own, too, where nobody catches, so it ends the process.
    """
    import jittor as jt
    from jittor_utils import lock

    compiler, place = jt.compiler, zlib.crc32(os.fsencode(SOURCE))  # checkouts that share a cache have one each
    library = os.path.join(compiler.cache_path, f"jiidm_memory_{place:08x}.so")
    with lock.lock_scope():
        compiler.compile(compiler.cc_path, compiler.cc_flags + compiler.opt_flags, [str(SOURCE)], library)
        ctypes.CDLL(library)


def shortage(error: BaseException) -> str:
    """What tells of too little memory in an exception or in those that it comes from; "" where nothing does."""
    seen: BaseException | None = error
    while seen is not None:
        lines = [line.strip() for line in str(seen).splitlines()]
        found = [line for line in lines if any(sign in line.lower() for sign in _SIGNS)]
        if isinstance(seen, MemoryError) or isinstance(seen, OSError) and seen.errno == errno.ENOMEM or found:
            told = (found or lines or [""])[-1] or type(seen).__name__
            limit = "; or ulimit -u is reached" if any(sign in told.lower() for sign in _NO_NEW_PROCESS) else ""
            return f"{told}{limit}"
        seen = seen.__cause__ or seen.__context__
    return ""
