"""Configs from YAML files, shipped names, saved trees and `--set` to the frozen dataclasses, and back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from jiidm.config import history, rules, yaml_files
from jiidm.config.convert import shown, to_dict, to_typed
from jiidm.config.schema import Config, Round
from jiidm.errors import InputError

__all__ = [
    "CONFIG_DIR",
    "fast",
    "from_dict",
    "from_saved",
    "load_config",
    "load_saved",
    "override",
    "to_dict",
    "with_rounds",
]

_IN_WHEEL, _IN_CHECKOUT = (Path(__file__).resolve().parents[level] / "configs" for level in (1, 2))
CONFIG_DIR = _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT
_NO_BASE = object()


def load_config(path: str | os.PathLike, overrides: Sequence[str] = ()) -> Config:
    """Read a config, a YAML file or the name of a shipped one, and apply `--set` overrides such as `seed=1`.

    A file may begin with `base:` and the name of another config, which it then changes.
    Raises InputError naming the file, the key and the value.
    """
    path = _find(path, Path())
    return override(from_dict(_read_with_base(path, []), str(path)), overrides)


def load_saved(path: str | os.PathLike) -> Config:
    """Read the config that a run folder keeps. Raises InputError as `load_config` does."""
    return from_saved(yaml_files.read(Path(path)), str(path))


def from_dict(tree: dict[str, Any], source: str) -> Config:
    """Build and validate a config from nested dicts; `source` names them in error messages."""
    return _obeying_rules(to_typed(Config, tree, "", source), source)


def from_saved(tree: dict[str, Any], source: str) -> Config:
    """`from_dict` for the config in a checkpoint or a run folder, which an earlier version may have written."""
    return from_dict(history.modernised(tree), source)


def to_yaml(config: Config) -> str:
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def override(config: Config, assignments: Sequence[str]) -> Config:
    """Apply `key.subkey=value` assignments, with the value in YAML syntax.

    Raises InputError as `load_config` does, and for a key that has no effect in this config.
    """
    if not assignments:
        return config
    tree = to_dict(config)
    assigned = {assignment: _assign(tree, assignment) for assignment in assignments}
    changed = from_dict(tree, "--set " + " ".join(assignments))
    for assignment, keys in assigned.items():
        for condition in filter(None, (rules.without_effect(changed, key) for key in keys)):
            raise InputError(f"--set {assignment}: this has an effect only where {condition}")
    return changed


def fast(config: Config) -> Config:
    """The same rounds in few steps: by dpmpp_2m in at most `inference.fast_steps` each, even in log-SNR.

    Starts, guidance and colour transfer stay. Raises InputError where this saves no step, and for ddpm rounds, whose
    images come from the noise drawn on the way.
    """
    _require_rounds(config, "--fast")
    rounds, most = config.inference.rounds, config.inference.fast_steps
    if any(round_.sampler == "ddpm" for round_ in rounds):
        raise InputError(f"--fast: {config.name} samples by ddpm, which few steps cannot follow")
    if max(round_.num_steps for round_ in rounds) <= most:
        raise InputError(f"--fast: no round of {config.name} takes more than inference.fast_steps = {most} steps")
    rounds = tuple(
        dataclasses.replace(round_, sampler="dpmpp_2m", num_steps=min(round_.num_steps, most), spacing="logsnr")
        for round_ in rounds
    )
    inference = dataclasses.replace(config.inference, rounds=rounds)
    return _obeying_rules(dataclasses.replace(config, inference=inference), "--fast")


def with_rounds(config: Config, rounds: Sequence[Round | Mapping[str, Any]], source: str) -> Config:
    """The same config with other rounds, each a Round or what a YAML file says of one.

    `released.noise_timesteps` belong to the config's rounds: they stay where the new ones start alike.
    Raises InputError, naming `source`, for rounds that are none or that the schedule cannot do.
    """
    _require_rounds(config, source)
    if isinstance(rounds, (str, Mapping)) or not isinstance(rounds, Sequence):
        raise InputError(f"{source}: {rounds!r}, expected a list of rounds")
    tree = to_dict(config)
    tree["inference"]["rounds"] = [
        dict(round_) if isinstance(round_, Mapping) else to_dict(round_) for round_ in rounds
    ]
    if config.released.noise_timesteps is not None:
        starts = [round_.start_timestep for round_ in config.inference.rounds[: len(rounds)]]
        alike = starts == [
            round_.get("start_timestep") if isinstance(round_, dict) else None for round_ in tree["inference"]["rounds"]
        ]
        kept = config.released.noise_timesteps[: len(rounds)]
        tree["released"]["noise_timesteps"] = kept if alike else None
    return from_dict(tree, source)


def _find(name: str | os.PathLike, folder: Path) -> Path:
    """The file of a shipped config by its name, or of any other by its path from `folder`."""
    is_shipped = not Path(name).suffix and (CONFIG_DIR / f"{name}.yaml").is_file()
    return CONFIG_DIR / f"{name}.yaml" if is_shipped else folder / name


def _read_with_base(path: Path, variants: list[Path]) -> dict[str, Any]:
    """The tree of a file, laid over that of its base. `variants` are the files that start from this one.

    Types and bounds are checked here already, so that a message names the file with the value.
    """
    tree = yaml_files.read(path)
    base = tree.pop("base", _NO_BASE) if isinstance(tree, dict) else _NO_BASE
    to_typed(Config, tree, "", str(path))
    if base is _NO_BASE:
        return tree
    if not isinstance(base, str) or not _find(base, path.parent).is_file():
        place = f", and {_find(base, path.parent)} is none" if isinstance(base, str) else ""
        raise InputError(f"{path}: base is {base!r}, expected a YAML file or the name of a shipped config{place}")
    base_path, variants = _find(base, path.parent), [*variants, path.resolve()]
    if base_path.resolve() in variants:
        raise InputError(f"{path}: base is {base!r}, but {base_path} itself starts from {path}")
    return _laid_over(_read_with_base(base_path, variants), tree)


def _laid_over(base: Any, tree: Any) -> Any:
    """Mappings are joined key by key. Everything else is replaced, lists too."""
    if not (isinstance(base, dict) and isinstance(tree, dict)):
        return tree
    return {**base, **{key: _laid_over(base.get(key), value) for key, value in tree.items()}}


def _assign(tree: dict[str, Any], assignment: str) -> list[str]:
    """Change one value of a config's tree, or those of a section that a mapping names. Returns their dotted keys.

    Raises InputError for a key that the tree does not have, and for broken YAML.
    """
    key, equals, value = assignment.partition("=")
    parent: Any = None
    node: Any = tree if equals else None
    try:
        for part in key.split("."):
            place = int(part) if isinstance(node, list) and part.isdecimal() else part
            parent, node = node, node[place]
    except (LookupError, TypeError):
        told = history.told_of(key) or "use key.subkey=value with a key of the config"
        raise InputError(f"--set {assignment}: no such setting; {told}") from None
    try:
        given = yaml_files.parse(value)
    except yaml.YAMLError:
        raise InputError(f"--set {assignment}: {value!r} is not valid YAML") from None
    parent[place] = _laid_over(node, given)
    if isinstance(given, dict):
        return [f"{key}.{name}" for name in given] or [key]
    return [key]


def _require_rounds(config: Config, source: str) -> None:
    if config.is_gan:
        raise InputError(f"{source}: {config.name} is a {config.method}, which has no rounds")


def _obeying_rules(config: Config, source: str) -> Config:
    """The config itself. Raises InputError for the first rule that it breaks."""
    for key, expected in rules.faults(config):
        raise InputError(f"{source}: {key} is {shown(_lookup(config, key))}, expected {expected}")
    return config


def _lookup(config: Config, key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node[int(part)] if isinstance(node, tuple) else getattr(node, part)
    return node
