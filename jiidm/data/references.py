"""Which reference photo goes with which mask: the mask folder and the references JSON, checked."""

from __future__ import annotations

import functools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from jiidm.data.folders import list_files, list_folder, name_faults, same_name, same_text
from jiidm.errors import InputError
from ldm_jittor.files import atomic_path, read_json

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
T = TypeVar("T", bound=Hashable)


def next_of_each(items: Sequence[T]) -> dict[T, T]:
    """{each item: the next one, the last: the first}. So each mask gets another's photo, given two or more."""
    return dict(zip(items, [*items[1:], *items[:1]]))


def write_references(path: str | os.PathLike, references: Mapping[str, str]) -> None:
    """Write {"<mask>.png": "<image>.jpg"} as the JSON that `load_references` reads."""
    with atomic_path(path) as temporary:
        temporary.write_text(f"{json.dumps(references, indent=1, ensure_ascii=False)}\n", encoding="utf-8")


def find_masks(folder: str | os.PathLike) -> list[Path]:
    """All *.png of a folder, *.PNG too, sorted by name, without those of the system.

    Raises InputError if there is none, for a name that is not UTF-8 and for two that are the same.
    """
    folder = Path(folder)
    masks = list_files(folder, (".png",), "the mask folder")
    if not masks:
        raise InputError(f"{folder}: no *.png masks in this folder")
    for path, fault in name_faults(masks):
        raise InputError(f"{path}: {fault}")
    return masks


def list_masks(source: str | os.PathLike) -> list[Path]:
    """The masks of a folder, or those that a references JSON names, sorted. The latter need not exist.

    Raises InputError for a folder without masks, and for a JSON that is not one or names something else than
    <stem>.png.
    """
    source = Path(source)
    if source.is_dir():
        return find_masks(source)
    masks = [Path(name) for name in sorted(_read_entries(source))]
    strange = [
        mask for mask in masks if len(mask.parts) != 1 or mask.suffix.lower() != ".png" or _CONTROL.search(mask.name)
    ]
    _refuse(source, "not the name of a mask", list(map(str, strange)))
    if not masks:
        raise InputError(f"{source}: names no masks")
    return masks


def spelled_as(masks: Sequence[Path], folder: str | os.PathLike) -> list[Path]:
    """The masks, each named as its image in `folder` where the two differ in Unicode's normal form only.

    The image's name comes from a folder of masks, which macOS may have written; a JSON from elsewhere spells otherwise.
    """
    try:
        stems = {same_text(path.stem): path.stem for path in list_folder(Path(folder))}
    except OSError:
        return list(masks)
    return [mask.with_name(f"{stems.get(same_text(mask.stem), mask.stem)}{mask.suffix}") for mask in masks]


def load_references(
    json_path: str | os.PathLike, masks: list[Path], data_root: str | os.PathLike | None = None
) -> dict[str, Path]:
    """Read {"<mask>.png": "<image>.jpg"} and find each image: {mask stem: image path}, in the order of `masks`.

    An image is looked for as given from the JSON's folder, then in `imgs/` beside the JSON, then in `data_root`'s
    `imgs/`, and nowhere outside those. Names agree as by `same_name`, which is how macOS and Windows compare them.
    Raises InputError for a file that is not such a JSON, an entry that leads elsewhere (symbolic links followed), an
    image that is not there, a mask without entry, and an entry without mask.
    """
    json_path = Path(json_path)
    entries = _read_entries(json_path)
    names = {same_name(mask.name): mask.name for mask in masks}
    image_of = {same_name(key): image for key, image in entries.items()}
    _refuse(json_path, "no reference for mask", sorted(names[key] for key in names.keys() - image_of.keys()))
    strange = [key for key in entries if same_name(key) not in names]
    _refuse(json_path, "reference for a mask that does not exist", strange)

    folders = [json_path.parent, json_path.parent / "imgs"]
    if data_root is not None:
        folders.append(Path(data_root) / "imgs")
    wanted = {mask.stem: image_of[same_name(mask.name)] for mask in masks}
    spellings = functools.cache(_spellings)
    images = {stem: _find_image(json_path, name, folders, spellings) for stem, name in wanted.items()}
    found = {stem: image for stem, image in images.items() if image is not None}
    where = f"reference image not found in {', '.join(map(str, folders))}"
    _refuse(json_path, where, [name for stem, name in wanted.items() if stem not in found])
    return found


def own_mask(image: str | os.PathLike) -> Path | None:
    """The mask of a photo in a data folder, labels/<stem>.png beside the imgs/ that it is in; None without one."""
    image = Path(image)
    mask = image.parent.parent / "labels" / f"{image.stem}.png"
    return mask if image.parent.name == "imgs" and mask.is_file() else None


def _read_entries(json_path: Path) -> dict[str, str]:
    try:
        entries = read_json(json_path, _Pairs)
    except OSError as error:
        raise InputError(f"{json_path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{json_path}: not a JSON file ({error})") from error
    if not isinstance(entries, _Pairs) or not all(isinstance(image, str) for _, image in entries):
        raise InputError(f'{json_path}: must be one JSON object {{"<mask>.png": "<image>.jpg", ...}}')
    counts = Counter(same_name(mask) for mask, _ in entries)
    twice = [mask for mask, count in counts.items() if count > 1]
    _refuse(json_path, "more than one reference for mask", twice)
    return dict(entries)


class _Pairs(list):
    """A JSON object as its list of (key, value), so that duplicate keys stay visible."""


def _find_image(
    json_path: Path, name: str, folders: list[Path], spellings: Callable[[Path], dict[str, str]]
) -> Path | None:
    allowed = [folder.resolve() for folder in folders]
    for folder in folders:
        try:
            image = folder / name
            if not image.exists():
                image = image.with_name(spellings(image.parent).get(same_name(image.name), image.name))
            image = image.resolve()
            exists = image.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, a null character
            raise InputError(f"{json_path}: reference {name!r} is not a usable file name ({error})") from error
        if not any(image.is_relative_to(root) for root in allowed):
            raise InputError(f"{json_path}: reference {name!r} leads outside the reference folders")
        if exists:
            return image
    return None


def _spellings(folder: Path) -> dict[str, str]:
    """The names in a folder by their `same_name`; empty where it cannot be listed."""
    try:
        return {same_name(path.name): path.name for path in folder.iterdir()}
    except OSError:
        return {}


def _refuse(json_path: Path, message: str, names: list[str]) -> None:
    if names:
        shown = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
        raise InputError(f"{json_path}: {message}: {shown} ({len(names)} in all)")
