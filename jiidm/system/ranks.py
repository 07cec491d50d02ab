"""The processes of one training run, as Open MPI started them. Anywhere else there is one process, rank 0 of 1.

Every function that talks to the others has to be called by all ranks, in the same order. It computes what it needs at
once, so that whatever one rank computes alone in between cannot change that order. Jittor is imported on first use.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from jiidm.errors import InputError
from jiidm.system.shards import WHOLE, Shard

if TYPE_CHECKING:
    import jittor as jt
    import numpy as np

T = TypeVar("T")
RANK, SIZE = "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"
_thread = threading.local()  # loading ahead, in a thread of its own, goes on for all ranks while the first is alone


def join_srun() -> None:
    """Give the tasks of `srun --mpi=pmix` the names by which Jittor, as under mpirun, knows Open MPI's ranks."""
    given = os.environ
    if "PMIX_RANK" in given and SIZE not in given and int(given.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        given[SIZE], given[RANK] = given["SLURM_STEP_NUM_TASKS"], given["SLURM_PROCID"]


def started_by_mpi() -> bool:
    """Whether Open MPI has started this process."""
    return SIZE in os.environ


def size() -> int:
    """How many processes train together."""
    return 1 if getattr(_thread, "alone", False) else int(os.environ.get(SIZE, 1))


def rank() -> int:
    """The number of this one, from 0."""
    return int(os.environ.get(RANK, 0))


def is_first() -> bool:
    """Whether this is the rank that writes, logs and shows."""
    return rank() == 0


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """While the block runs, this rank computes as if it were the only one. Only rank 0 may do so."""
    before = getattr(_thread, "alone", False)
    _thread.alone = True
    try:
        yield
    finally:
        _thread.alone = before


def share(numbers: range) -> range:
    """The part of a batch's sample numbers that is this rank's. Raises ValueError where ranks do not divide them."""
    count, remainder = divmod(len(numbers), size())
    if remainder:
        raise ValueError(f"{len(numbers)} samples do not divide into {size()} ranks")
    return numbers[rank() * count : (rank() + 1) * count] if size() > 1 else numbers


def shard() -> Shard:
    """This rank's part of what ranks divide among them without regard to batches."""
    return Shard(rank() + 1, size()) if size() > 1 else WHOLE


def barrier() -> None:
    """Wait until every rank is here."""
    if size() > 1:
        from jittor import compile_extern

        compile_extern.mpi.mpi_barrier()


def on_first(call: Callable[[], T]) -> T | None:
    """What `call` gives on rank 0, which calls it alone. The others wait, and get None."""
    if size() == 1:
        return call()
    result = None
    if is_first():
        with alone():
            result = call()
    barrier()
    return result


def first_then_others(call: Callable[[], T]) -> T:
    """What `call` gives. Rank 0 calls it before the others, which so find done what is done once, such as a file."""
    if is_first():
        with alone():
            result = call()
        barrier()
        return result
    barrier()
    return call()


def total(values: np.ndarray) -> np.ndarray:
    """The sum over all ranks of a float32 or float64 array, whose shape is the same on all."""
    if size() == 1:
        return values
    import jittor as jt

    return jt.array64(values).mpi_all_reduce("add").numpy()  # jt.array would make it float32


def interleave(rows: np.ndarray, count: int) -> np.ndarray:
    """All `count` rows [count,D], in float32, of which rank r has number r, r + size, ... A surplus row is left out."""
    if size() == 1:
        return rows
    import numpy as np

    whole = np.zeros((count, *rows.shape[1:]), np.float32)
    places = range(rank(), count, size())
    whole[places] = rows[: len(places)]
    return total(whole)


def gather(value: float) -> list[float]:
    """The value of every rank, in float32, in the ranks' order."""
    import numpy as np

    values = np.zeros(size(), np.float32)
    values[rank() if size() > 1 else 0] = value
    return total(values).tolist()


def from_first(value: float) -> float:
    """The value of rank 0, in float32."""
    return gather(value)[0]


def means(values: Mapping[str, float]) -> dict[str, float]:
    """The mean of each value over all ranks. The names are the same on all."""
    if size() == 1:
        return dict(values)
    import numpy as np

    return dict(zip(values, (total(np.array(list(values.values()), np.float32)) / size()).tolist()))


def require_equal(what: str, digest: bytes) -> None:
    """Raises InputError on every rank where `digest` is not the same on all."""
    if size() == 1:
        return
    import numpy as np

    own = np.frombuffer(digest, np.uint8).astype(np.float32)
    first = total(own if is_first() else np.zeros_like(own))
    if wrong := [number for number, differs in enumerate(gather(not np.array_equal(own, first))) if differs]:
        raise InputError(
            f"{what}: rank {wrong[0]} has another state than rank 0; the last state that was saved is good"
        )


def mean(value: jt.Var) -> jt.Var:
    """The mean over all ranks of a Var that has no gradient."""
    if size() == 1:
        return value
    value.sync()
    reduced = value.mpi_all_reduce("mean")
    reduced.sync()
    return reduced


def lazy_mean(value: jt.Var) -> jt.Var:
    """The same within a graph that all ranks compute, when it is computed."""
    return value.mpi_all_reduce("mean") if size() > 1 else value
