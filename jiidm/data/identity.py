"""Made by the same thing? A folder keeps what decided its content as JSON, and later calls compare it.

Files are compared by the SHA-256 of their content, so another file under the same name is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from jiidm.config import load as configs
from jiidm.config.convert import to_typed
from jiidm.config.history import modernised
from jiidm.config.schema import Config
from jiidm.errors import InputError
from ldm_jittor.files import atomic_path, read_json

_WITHOUT_EFFECT = ("batch_size", "modulation_memory", "fast_steps")
_SINCE = {"guidance_rescale": 0.0, "dynamic_thresholding_ratio": None, "guidance_interval": None}
"""Settings of a round that the first version did not have, with the value that changes nothing."""
_NETWORKS = ("autoencoder", "unet", "schedule")
_LONGEST = 40
_SAME_WEIGHTS = {  # of segmenter.safetensors
    "7e3bccfa8987a930c66034852ab16ba553c604741cdc01f7d2ed7eb4b0bb09a7": (
        "59ef181aa6327ae2ed8320b674104a12f865e69936b0cc8096227791d49f3591"
    ),
}
"""The SHA-256 of a file that shipped before checkpoints had a checksum: that of the same arrays with one."""


class Difference(NamedTuple):
    """One setting that two records do not share. None stands for a setting that a record lacks."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"another {self.key} ({_short(self.before)}, now {_short(self.now)})"


def differing(before: Any, now: Any, key: str = "") -> list[Difference]:
    """Every setting in which two records differ, by its dotted key. A record is what JSON can hold."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        pairs = [(name, before.get(name), now.get(name)) for name in {**now, **before}]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = list(zip(range(len(now)), before, now))
    else:
        return [] if before == now else [Difference(key, before, now)]
    return [found for name, old, new in pairs for found in differing(old, new, f"{key}.{name}" if key else f"{name}")]


def require_same(place: str | os.PathLike, before: Any, now: Any, advice: str) -> None:
    """Raises InputError where something other than `now` made what is at `place`. `advice` says what to do."""
    found = differing(before, now)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise InputError(f"{place}: made with {found[0]}{more}; {advice}")


def claim(path: Path, now: Mapping[str, Any], advice: str) -> None:
    """Record in the file `path` what makes the content of its folder, or see that the record there is the same.

    One of several processes at once writes it. The others compare theirs with it.
    Raises InputError where it is not the same, and where the file cannot be used.
    """
    try:
        if not path.exists():
            with contextlib.suppress(FileExistsError), atomic_path(path, replace=False) as temporary:
                temporary.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        before = read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be used ({getattr(error, 'strerror', None) or error})") from None
    require_same(path, before, now, advice)


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's content. Raises InputError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()


def hash_files(paths: Iterable[Path]) -> dict[Path, str]:
    """The `sha256` of each file."""
    return {path: sha256(path) for path in tqdm(list(paths), desc="hashing", unit="file", delay=2)}


def require_unchanged(path: Path, before: str) -> None:
    """Raises InputError where a file's content is no longer that of the hash which the command took of it."""
    if sha256(path) != before:
        raise InputError(f"{path}: changed while it was in use; give the same command again")


def sampling(config: Config) -> dict[str, Any]:
    """The settings by which given weights turn a mask and a reference into an image.

    Their layout is that of the first version's configs, because training runs keep a digest of them.
    """
    settings = {key: value for key, value in configs.to_dict(config.inference).items() if key not in _WITHOUT_EFFECT}
    starts = [round_.start_timestep for round_ in config.inference.rounds]
    noised_at = config.released.noise_timesteps or starts
    others = [None if timestep == start else timestep for timestep, start in zip(noised_at, starts)]
    rounds = [
        {key: value for key, value in {**round_, "noise_timestep": other}.items() if _SINCE.get(key, ()) != value}
        for round_, other in zip(settings["rounds"], others)
    ]
    bounds = [round_.pop("clip_x0") for round_ in rounds]
    return settings | {
        "rounds": rounds,
        "clip_x0": bounds[0] if len(set(bounds)) == 1 else bounds,
        "jpeg_between_rounds": config.released.jpeg_between_rounds,
    }


def made_by(
    model: str,
    config: Config,
    seed: int,
    from_noise: bool = False,
    candidates: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that decides the bytes of an output of inference. model: the file's SHA-256.

    candidates: how many images of each mask were made, and what chose among them; None for one.
    `size` in it is [width, height].
    """
    origin = {"model": model, "seed": seed, "from_noise": from_noise, "size": list(config.data.size[::-1])}
    if candidates is not None:
        origin["candidates"] = candidates
    if config.is_gan:
        written = {"jpeg_quality": config.inference.jpeg_quality}
        return {**origin, "method": config.method, "inference": written, "gan": configs.to_dict(config.gan)}
    networks = {key: configs.to_dict(getattr(config, key)) for key in _NETWORKS}
    return {**origin, "inference": sampling(config), **networks}


def same_weights(file: str) -> str:
    """The SHA-256 by which the weights in a file of that SHA-256 are known today."""
    return _SAME_WEIGHTS.get(file, file)


def renewed(before: Mapping[str, Any]) -> dict[str, Any]:
    """A record of `made_by` that an earlier version may have kept, with the settings that have come since.

    Raises KeyError, TypeError or InputError for what is no such record.
    """
    if "method" in before:
        gan = to_typed(Config, {"gan": before["gan"]}, "", "made_by").gan
        return {**before, "gan": configs.to_dict(gan)}
    config = to_typed(Config, modernised({key: before[key] for key in _NETWORKS}), "", "made_by")
    networks = {key: configs.to_dict(getattr(config, key)) for key in _NETWORKS}
    return {"from_noise": False, **before, "model": same_weights(before["model"]), **networks}


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    if re.fullmatch("[0-9a-f]{64}", text):
        return f"{text[:12]}..."
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
