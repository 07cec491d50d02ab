"""Where Jittor keeps what it compiles: found and mended before `import jittor`, which does neither well.

Jittor makes the folder without a word where it is told to, ends in a traceback where it cannot, and ends the process
with exit status 0 where it finds its tools compiled for another folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import time
from pathlib import Path

from jiidm.errors import InputError

logger = logging.getLogger(__name__)
_HOME = "JITTOR_HOME"
_PATIENCE = 300.0
"""Seconds. No compiler takes so long for one operator."""


def jittor_cache() -> Path:
    """The folder of everything that Jittor keeps, as its `jittor_utils.home` finds it."""
    home = os.environ.get(_HOME) or _remembered_home()
    return Path(home).absolute() / ".cache" / "jittor" if home else _default_cache()


def check_working_folder() -> None:
    """Raises InputError where the working folder is gone, as after `rmdir`: relative paths and compilers need it."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(f"the working folder cannot be used ({error.strerror}); go to one that is there") from None


def check_home() -> None:
    """See that Jittor can keep its files. A remembered JITTOR_HOME that is gone is forgotten, with a warning.

    Raises InputError where a folder cannot be written.
    """
    if not os.environ.get(_HOME):
        os.environ.pop(_HOME, None)  # Jittor takes an empty one for a folder
        remembered = _remembered_home()
        if remembered and not Path(remembered).is_dir():
            logger.warning(
                f"the {_HOME} that Jittor remembers is gone: {remembered}; its cache is in {Path.home()} again"
            )
            os.environ[_HOME] = str(Path.home())  # which Jittor remembers instead
    for folder, variable in ((_default_cache(), "HOME"), (jittor_cache(), _HOME)):
        if any(character.isspace() for character in str(folder)):
            raise InputError(f"{folder}: Jittor cannot compile in a folder with a space in its name; set {variable}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            told = f"Jittor cannot keep its files here ({error.strerror})"
            raise InputError(f"{folder}: {told}; set {variable} to a folder that can be written") from None


def forget_moved_tools() -> None:
    """Have Jittor compile its tools again where they were compiled for another folder, as in a moved or copied cache.

    Jittor would do so itself, but then end the process as if all were done.
    """
    import jittor_utils
    from jittor_utils import lock

    cache = Path(jittor_utils.cache_path)
    with lock.lock_scope():
        for key in sorted(cache.glob("jit_utils_core*.key")):
            if f'-o "{cache}/' not in key.read_text(errors="replace"):
                logger.warning(f"{cache}: moved or copied here; Jittor compiles it again, which takes minutes")
                for path in (key.with_suffix(""), key):
                    path.unlink(missing_ok=True)


def wait_for_abandoned_compilers() -> None:
    """Wait for the compilers of a killed process. They live on, and write into files that are about to be loaded.

    Whoever lives and compiles holds Jittor's lock, and is not waited for here.
    """
    import jittor_utils
    from jittor_utils import lock

    cache = Path(jittor_utils.cache_path)
    if not _compilers(cache):
        return
    with lock.lock_scope(), open(cache.parent / "jittor.lock", "a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        end = time.monotonic() + _PATIENCE
        while _compilers(cache) and time.monotonic() < end:
            time.sleep(0.05)


def _compilers(cache: Path) -> list[Path]:
    """The running processes that write a file of the cache, as Linux lists them."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = process.read_bytes().split(b"\0")
            written = [after for word, after in zip(words, words[1:]) if word == b"-o"]
            if any(target.startswith(os.fsencode(cache) + b"/") for target in written):
                found.append(process.parent)
    return found


def _default_cache() -> Path:
    try:
        home = Path.home()
    except RuntimeError:
        raise InputError("HOME is not set, and Jittor keeps its files there") from None
    if os.environ.get("HOME") == "":  # which Python takes for the root folder
        raise InputError("HOME is empty, and Jittor keeps its files there")
    return home / ".cache" / "jittor"


def _remembered_home() -> str:
    """The JITTOR_HOME of an earlier process, or "". Raises InputError for a file that Jittor could not read either."""
    path = _default_cache() / "config.json"
    try:
        home = json.loads(path.read_text()).get(_HOME, "")
    except OSError:
        return ""
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"{path}: not as Jittor wrote it; remove this file") from None
    return home if isinstance(home, str) else ""
