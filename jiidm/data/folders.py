"""Names in folders: which ones count, and which of them mean the same."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from jiidm.errors import InputError

_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "@eadir", "__macosx"}
"""Files that Windows, macOS and network drives leave in folders, apart from those that begin with a dot."""


def list_folder(folder: Path) -> list[Path]:
    """The content of a folder, sorted by name, without hidden files and those of the system. Raises OSError."""
    return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.name.lower() not in _SYSTEM_FILES)


def list_files(folder: Path, suffixes: Collection[str], what: str) -> list[Path]:
    """Those of `list_folder` whose suffix is one of `suffixes`, in lower case or not.

    Raises InputError for a folder that cannot be listed; `what` it was to hold is told.
    """
    try:
        return [path for path in list_folder(folder) if path.suffix.lower() in suffixes]
    except OSError as error:
        raise InputError(f"{folder}: cannot list {what} ({error.strerror})") from error


def same_text(text: str) -> str:
    """One spelling for texts that look the same: macOS takes letters and their accents apart, others join them."""
    return unicodedata.normalize("NFC", text)


def same_name(name: str) -> str:
    """One spelling for file names that differ in their suffix's case, or as `same_text` says."""
    root, suffix = os.path.splitext(same_text(name))
    return root + suffix.lower()


def name_faults(paths: Iterable[Path]) -> list[tuple[Path, str]]:
    """(path, fault) for files of one kind: names that are no text, and all but one of the same stem."""
    faults = []
    alike: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        alike[same_text(path.stem)].append(path)
        if not _is_text(path.name):
            faults.append((path, "its name is not UTF-8; `convmv -f gbk -t utf-8` or `unzip -O gbk` mends such names"))
        elif "\n" in path.name or "\r" in path.name:
            faults.append((path, "a line break in its name, which no list can hold; rename it"))
    for first, *others in alike.values():
        faults += [(path, f"has the same name as {first.name}; rename one") for path in others]
    return sorted(faults)


def require_distinct(folder: Path, stems: Iterable[str]) -> None:
    """Raises InputError where `folder`, which is there, cannot hold a file for each stem: some systems ignore case."""
    alike: dict[str, list[str]] = defaultdict(list)
    for stem in stems:
        alike[stem.casefold()].append(stem)
    twins = [same for same in alike.values() if len(same) > 1]
    if twins and _ignores_case(folder):
        one, other = twins[0][:2]
        raise InputError(f"{folder}: its file system takes {one} and {other} for one name; rename one of the two files")


def _ignores_case(folder: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".case") as file:
        return os.path.exists(folder / Path(file.name).name.upper())


def _is_text(name: str) -> bool:
    """Bytes that are no UTF-8 come as halves of surrogate pairs."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
