"""Files: written so that a reader never sees half of one, not even after a power cut; texts read with care."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldm_jittor.temporaries import leftovers, temporary_path

if TYPE_CHECKING:
    import numpy as np

_MAX_TEXT = 32 << 20
"""Far more than a list of every image of a data set takes."""
_MAX_DEPTH = 100
Pairs = Callable[[list[tuple[str, Any]]], Any]


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, replace: bool = True) -> Iterator[Path]:
    """Yield the path of an empty file beside `path`; it takes `path`'s place when the block ends without an exception.

    Without `replace` a file that is at `path` by then stays, and FileExistsError says so. One of several writers wins.

    The temporary file keeps the suffix of `path`, because image libraries choose their format by it. Its name tells
    who writes it, so that `leftovers` can find it. It is removed when the block raises. What killed processes have left
    in the folder is removed before the first file is written there.
    Raises OSError, which names `path`, where the folder is missing, cannot be written or is full.
    """
    path = Path(path)
    temporary = temporary_path(path)
    _clear(path.parent)
    try:
        with naming(path, temporary):
            handle = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
            mode = os.fstat(handle).st_mode & 0o777  # what the umask allows; safetensors leaves less
            os.close(handle)
            yield temporary
            temporary.chmod(mode)
            _sync(temporary)
            (os.replace if replace else _link)(temporary, path)
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
            _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@functools.cache
def _clear(folder: Path) -> None:
    """Remove what killed processes left in a folder. Once: the files are many."""
    with contextlib.suppress(OSError):
        for leftover in leftovers(folder):
            leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path: str | os.PathLike, temporary: Path | None = None) -> Iterator[None]:
    """Have an OSError of the block name `path`, where it names nothing or `temporary`.

    A write to a full disk raises one that names nothing. One beyond `ulimit -f` says no more than "too large".
    """
    try:
        yield
    except OSError as error:
        named = {str(name) for name in (error.filename, error.filename2) if name is not None}
        if error.errno is None or named and str(temporary) not in named:
            raise
        told = "the limit on a file's size, ulimit -f, is reached" if error.errno == errno.EFBIG else error.strerror
        raise OSError(error.errno, told, str(path)) from error


def write_through_memory(path: str | os.PathLike, save: Callable[[io.BytesIO], object]) -> None:
    """Write what `save` gives, atomically. It is made in memory, since libraries do not take a full disk well.

    Pillow ignores that half of a write was taken, and a zip file would complain a second time. Raises OSError as
    `atomic_path` does.
    """
    buffer = io.BytesIO()
    save(buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def save_npz(path: str | os.PathLike, **arrays: np.ndarray) -> None:
    """Write an .npz file. Raises OSError as `write_through_memory` does."""
    import numpy as np

    write_through_memory(path, lambda file: np.savez(file, **arrays))


def load_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, compared with its checksums.

    Raises OSError where it cannot be read, and ValueError where it is damaged, no such file or holds objects.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # numpy, zipfile and zlib stumble in many ways
        raise ValueError(f"damaged or not an .npz file ({error})") from None


def read_text(path: str | os.PathLike) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises OSError where it cannot be read, is no regular file (a pipe or device may never end) or is larger than
    32 MiB; UnicodeDecodeError where it is not UTF-8.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # opening a pipe would wait for its writer
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(_MAX_TEXT + 1)
    if len(content) > _MAX_TEXT:
        raise OSError(errno.EFBIG, f"larger than {_MAX_TEXT >> 20} MiB", str(path))
    return content.decode("utf-8-sig")


def read_json(path: str | os.PathLike, pairs: Pairs | None = None) -> Any:
    """The value of a JSON file, as of `parse_json`. Raises as `read_text` and `parse_json` do."""
    return parse_json(read_text(path), pairs)


def parse_json(text: str, pairs: Pairs | None = None) -> Any:
    """The value of JSON text; `pairs` makes something else than a dict of an object.

    Raises ValueError for what is no JSON, is nested more than a hundredfold or holds a number of thousands of digits.
    """
    depth = 0  # Python's own limit, which protects the stack, is a million since Jittor is imported
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
    return json.loads(text, object_pairs_hook=pairs)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # some file systems have no links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.replace(source, target)


def _sync(path: Path) -> None:
    """Wait until the file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
