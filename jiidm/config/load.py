"""Configuration: one YAML file -> the frozen dataclasses. Unknown keys and wrong types are errors."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal

import yaml

from jiidm.config.schema import Config, ScheduleConfig
from jiidm.errors import InputError

CONFIG_DIR = Path(__file__).resolve().parents[2] / "configs"


def load_config(path: str | os.PathLike, overrides: typing.Sequence[str] = ()) -> Config:
    """Read a config, a YAML file or the name of a shipped one, and apply `--set` overrides such as `seed=1`.

    Raises InputError naming the file, the key and the value.
    """
    path = Path(path)
    if not path.suffix and (CONFIG_DIR / f"{path}.yaml").is_file():
        path = CONFIG_DIR / f"{path}.yaml"
    return override(from_dict(_read(path), str(path)), overrides)


def load_saved(path: str | os.PathLike) -> Config:
    """Read the config that a run folder keeps. Raises InputError as `load_config` does."""
    return from_saved(_read(Path(path)), str(path))


def _read(path: Path) -> Any:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the config ({getattr(error, 'strerror', None) or error})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    return tree if tree is not None else {}


def from_dict(tree: dict[str, Any], source: str) -> Config:
    """Build and validate a config from nested dicts; `source` names them in error messages."""
    return _validated(_convert(Config, tree, "", source), source)


RENAMED: dict[str, str] = {
    "inference.jpeg_between_rounds": "released.jpeg_between_rounds",
    "inference.rounds.N.noise_timestep": "released.noise_timesteps",
}
"""Keys that have another place now, old -> new: saved configs are read by it, and who writes an old one is told."""
FORMER: dict[str, Any] = {}
"""What a key that a saved config lacks stood for when it was saved, where that is not its default."""


def from_saved(tree: dict[str, Any], source: str) -> Config:
    """`from_dict` for the config in a checkpoint or a run folder, which an earlier version may have written."""
    if not isinstance(tree, dict):
        return from_dict(tree, source)
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in tree.items()}
    for old, new in RENAMED.items():
        section, _, name = old.partition(".")
        if isinstance(tree.get(section), dict) and name in tree[section]:
            _set_absent(tree, new, tree[section].pop(name))
    _collect_noise_timesteps(tree)
    for key, value in FORMER.items():
        _set_absent(tree, key, value)
    return from_dict(tree, source)


def _collect_noise_timesteps(tree: dict[str, Any]) -> None:
    """From each round's noise_timestep, null where it is that of the start, to one list for all rounds."""
    rounds = tree["inference"].get("rounds") if isinstance(tree.get("inference"), dict) else None
    if isinstance(rounds, list) and all(isinstance(round_, dict) for round_ in rounds):
        rounds = tree["inference"]["rounds"] = [dict(round_) for round_ in rounds]
        found = [round_.pop("noise_timestep", None) for round_ in rounds]
        if any(timestep is not None for timestep in found):
            starts = [round_.get("start_timestep") for round_ in rounds]
            timesteps = [start if timestep is None else timestep for timestep, start in zip(found, starts)]
            _set_absent(tree, "released.noise_timesteps", timesteps)


def _set_absent(tree: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    if isinstance(tree.setdefault(section, {}), dict):
        tree[section].setdefault(name, value)


def _renamed(key: str) -> str:
    """What to say of a key that an earlier version knew; empty for any other."""
    new = RENAMED.get(re.sub(r"\.\d+\.", ".N.", key))
    return f"it is {new} now" if new else ""


def to_dict(config: Any) -> Any:
    """Nested dicts and lists, ready for YAML or JSON; the inverse of `from_dict`."""
    if dataclasses.is_dataclass(config):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return [to_dict(item) for item in config] if isinstance(config, tuple) else config


def to_yaml(config: Config) -> str:
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def override(config: Config, assignments: typing.Sequence[str]) -> Config:
    """Apply `key.subkey=value` assignments, the value in YAML syntax. Raises InputError as `load_config` does."""
    if not assignments:
        return config
    tree = to_dict(config)
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        parent, node = None, tree if equals else None
        try:
            for part in key.split("."):
                place = int(part) if isinstance(node, list) and part.isdecimal() else part
                parent, node = node, node[place]
        except (LookupError, TypeError):
            told = _renamed(key) or "use key.subkey=value with a key of the config"
            raise InputError(f"--set {assignment}: no such setting; {told}") from None
        try:
            parent[place] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {assignment}: {value!r} is not valid YAML") from None
    return from_dict(tree, "--set " + " ".join(assignments))


def fast(config: Config) -> Config:
    """The same rounds in few steps: by dpmpp_2m in at most `inference.fast_steps` each, even in log-SNR.

    Starts, guidance and colour transfer stay. Raises InputError where this saves no step, and for ddpm rounds, whose
    images are made of the noise drawn on the way.
    """
    rounds, most = config.inference.rounds, config.inference.fast_steps
    if any(spec.sampler == "ddpm" for spec in rounds):
        raise InputError(f"--fast: {config.name} samples by ddpm, which few steps cannot follow")
    if max(spec.num_steps for spec in rounds) <= most:
        raise InputError(f"--fast: no round of {config.name} takes more than inference.fast_steps = {most} steps")
    rounds = tuple(
        dataclasses.replace(spec, sampler="dpmpp_2m", num_steps=min(spec.num_steps, most), spacing="logsnr")
        for spec in rounds
    )
    inference = dataclasses.replace(config.inference, rounds=rounds)
    return _validated(dataclasses.replace(config, inference=inference), "--fast")


def _convert(kind: Any, value: Any, key: str, source: str) -> Any:
    """`value` as the annotated type `kind`, or InputError naming `key`."""

    def fail(expected: str):
        raise InputError(f"{source}: {key or 'the file'} is {value!r}, expected {expected}")

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            fail("a mapping")
        hints = typing.get_type_hints(kind)
        for name in value:
            if name not in hints:
                unknown = f"{key}.{name}" if key else f"{name}"
                told = _renamed(unknown)
                raise InputError(f"{source}: unknown key {unknown}{told and f'; {told}'}")
        given = {n: _convert(hints[n], v, f"{key}.{n}".lstrip("."), source) for n, v in value.items()}
        try:
            return kind(**given)
        except TypeError:
            missing = [
                f.name for f in dataclasses.fields(kind) if f.name not in given and f.default is dataclasses.MISSING
            ]
            fail(f"a mapping with {', '.join(missing)}")
    if origin is Literal:
        return value if value in arguments else fail(" or ".join(map(str, arguments)))
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            fail("a list")
        variable = arguments[-1] is Ellipsis
        if not variable and len(value) != len(arguments):
            fail(f"{len(arguments)} values")
        kinds = [arguments[0]] * len(value) if variable else arguments
        return tuple(_convert(k, v, f"{key}.{i}", source) for i, (k, v) in enumerate(zip(kinds, value)))
    if origin in (typing.Union, getattr(types, "UnionType", typing.Union)):
        return None if value is None else _convert(arguments[0], value, key, source)
    if kind is float and not isinstance(value, bool):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if math.isfinite(float(value)):
                return float(value)  # YAML 1.1 reads 1e-4, without a dot, as a string
        fail("a finite number")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        fail({int: "an integer", float: "a number", str: "a string", bool: "true or false"}[kind])
    return value


_AT_LEAST_ONE = (
    "data.synthetic_count",
    "autoencoder.num_res_blocks",
    "autoencoder.codebook_size",
    "unet.num_res_blocks",
    "unet.num_head_channels",
    "unet.spade_hidden",
    "schedule.num_timesteps",
    "autoencoder_training.max_steps",
    "autoencoder_training.batch_size",
    "diffusion_training.max_steps",
    "diffusion_training.batch_size",
    "diffusion_training.accumulation_steps",
    "diffusion_training.log_every",
    "diffusion_training.validate_every",
    "diffusion_training.checkpoint_every",
    "inference.batch_size",
    "inference.fast_steps",
    "segmenter.max_steps",
    "segmenter.batch_size",
)
_POSITIVE = (
    "autoencoder.latent_scale",
    "autoencoder_training.learning_rate",
    "diffusion_training.learning_rate",
    "segmenter.learning_rate",
    "inference.modulation_memory",
    "schedule.slope",
    "schedule.beta_start",
)


def _validated(config: Config, source: str) -> Config:
    """The checks that types cannot express."""

    def require(condition: bool, key: str, expected: str):
        if not condition:
            value = _lookup(config, key)
            shown = "x".join(map(str, value)) if isinstance(value, tuple) and value else value
            raise InputError(f"{source}: {key} is {shown}, expected {expected}")

    for key in _AT_LEAST_ONE:
        require(_lookup(config, key) >= 1, key, "1 or more")
    for key in _POSITIVE:
        require(_lookup(config, key) > 0, key, "a number above 0")
    _check_sizes(config, require)
    _check_schedule(config.schedule, require)
    training = config.diffusion_training
    accumulated = f"a multiple of accumulation_steps = {training.accumulation_steps}"
    require(training.batch_size % training.accumulation_steps == 0, "diffusion_training.batch_size", accumulated)
    require((training.distance_every or 0) >= 0, "diffusion_training.distance_every", "1 or more, or null")
    for key in ("diffusion_training.distance_images", "diffusion_training.keep_best"):
        require(_lookup(config, key) >= 2, key, "2 or more")
    require(0 <= training.mask_dropout < 1, "diffusion_training.mask_dropout", "0 to below 1")
    require(0 < config.data.validation_fraction < 1, "data.validation_fraction", "a number between 0 and 1")
    for key in ("inference.jpeg_quality", "released.jpeg_between_rounds"):
        require(_lookup(config, key) is None or 1 <= _lookup(config, key) <= 100, key, "1 to 100")
    require(bool(config.inference.rounds), "inference.rounds", "one round at least")
    last = config.schedule.num_timesteps - 1
    for i, spec in enumerate(config.inference.rounds):
        key, start = f"inference.rounds.{i}", spec.start_timestep
        require(0 <= start <= last, f"{key}.start_timestep", f"0 to {last}")
        require(1 <= spec.num_steps <= start + 1, f"{key}.num_steps", f"1 to {start + 1}")
        has_snr = start < last or not config.schedule.ends_in_noise
        require(spec.spacing != "logsnr" or has_snr, f"{key}.spacing", f"another: abar is 0 at timestep {start}")
    noised, count = config.released.noise_timesteps, len(config.inference.rounds)
    fits = noised is None or (len(noised) == count and all(0 <= timestep <= last for timestep in noised))
    require(fits, "released.noise_timesteps", f"{count} timesteps, one a round, of 0 to {last}")
    return config


def _lookup(config: Config, key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node[int(part)] if isinstance(node, tuple) else getattr(node, part)
    return node


def _check_sizes(config: Config, require: typing.Callable[[bool, str, str], None]) -> None:
    for key in ("autoencoder.channel_mult", "unet.channel_mult"):
        require(min(_lookup(config, key), default=0) >= 1, key, "a list of whole numbers above 0")
    downsample = config.autoencoder.downsample
    unit = downsample * 2 ** (len(config.unet.channel_mult) - 1)
    require(config.autoencoder.latent_channels >= 3, "autoencoder.latent_channels", "3 or more, one a colour")
    fits = all(side > 0 and side % unit == 0 for side in config.data.size)
    require(fits, "data.size", f"multiples of {unit}, as the autoencoder and the U-Net halve it")
    for key, channels in (
        ("autoencoder.channels", config.autoencoder.channels),
        ("unet.model_channels", config.unet.model_channels),
    ):
        require(channels > 0 and channels % 32 == 0, key, "a multiple of 32, for group norm")
    unet = config.unet
    mults = [m for level, m in enumerate(unet.channel_mult) if 2**level in unet.attention_downsamples]
    fits = all(m * unet.model_channels % unet.num_head_channels == 0 for m in (*mults, unet.channel_mult[-1]))
    require(fits, "unet.num_head_channels", "a divisor of the channels of every level with attention, and the last")
    crop = zip(config.autoencoder_training.crop_size, config.data.size)
    fits = all(0 < side <= full and side % downsample == 0 for side, full in crop)
    require(fits, "autoencoder_training.crop_size", f"at most data.size, in multiples of {downsample}")
    require(min(config.segmenter.size) >= 32, "segmenter.size", "32 or more a side")


def _check_schedule(schedule: ScheduleConfig, require: typing.Callable[[bool, str, str], None]) -> None:
    steps = schedule.num_timesteps
    highest = 1 / steps * (1 + 1e-9)
    require(
        schedule.kind != "paper" or schedule.slope <= highest, "schedule.slope", f"at most 1/{steps}: betas end at 1"
    )
    require(schedule.beta_start <= schedule.beta_end <= 1, "schedule.beta_end", "beta_start to 1")
