"""What the page asks for, checked: the body of a request to generate, as JSON."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jiidm.config.load import with_rounds
from jiidm.config.schema import Config, Round
from jiidm.data.images import check_labels
from jiidm.errors import InputError
from jiidm.painter.library import MAX_MASK_PIXELS

LARGEST_SEED = 2**32 - 1


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises InputError for anything else."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("the request is no JSON") from None
    if not isinstance(values, dict):
        raise InputError("the request is no JSON object")
    return values


def text(values: Mapping[str, Any], key: str) -> str:
    """A short text. Raises InputError for anything else."""
    value = values.get(key)
    if not isinstance(value, str) or len(value) > 300:
        raise InputError(f"{key}: {reprlib.repr(value)}, expected text")
    return value


def integer(values: Mapping[str, Any], key: str, least: int, most: int) -> int:
    """A whole number within bounds. Raises InputError for anything else."""
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{key}: {reprlib.repr(value)}, expected an integer from {least} to {most}")
    return value


def mask(values: Mapping[str, Any]) -> np.ndarray:
    """Class ids, uint8 [height,width], from width, height and ids in base 64. Raises InputError for what is no mask."""
    height, width = (integer(values, key, 1, MAX_MASK_PIXELS) for key in ("height", "width"))
    try:
        ids = base64.b64decode(values.get("mask", ""), validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InputError("mask: not in base 64") from None
    if len(ids) != height * width or len(ids) > MAX_MASK_PIXELS:
        raise InputError(f"mask: {len(ids)} ids for {width}x{height} pixels, of which {MAX_MASK_PIXELS} may be")
    return check_labels(np.frombuffer(ids, np.uint8).reshape(height, width), "mask")


def with_settings(config: Config, values: Mapping[str, Any]) -> Config:
    """The config with the page's settings: seed, and rounds, steps, start and guidance, which shape its rounds.

    `rounds` says how many of the config's rounds there are. The others are those of the first; what the config's later
    rounds have changes in proportion. So a config's own numbers give the config.
    Raises InputError for settings that are none, or that the schedule cannot do.
    """
    own, last = config.inference.rounds, config.schedule.num_timesteps - 1
    count = integer(values, "rounds", 1, len(own))
    start = integer(values, "start", 0, last)
    steps = integer(values, "steps", 1, start + 1)
    guidance = values.get("guidance")
    if isinstance(guidance, bool) or not isinstance(guidance, (int, float)) or not 0 <= guidance <= 100:
        raise InputError(f"guidance: {reprlib.repr(guidance)}, expected a number from 0 to 100")
    rounds = [_in_proportion(round_, own[0], start, steps, float(guidance)) for round_ in own[:count]]
    seed = integer(values, "seed", 0, LARGEST_SEED)
    return dataclasses.replace(with_rounds(config, rounds, "the settings"), seed=seed)


def _in_proportion(round_: Round, first: Round, start: int, steps: int, guidance: float) -> Round:
    start = round(round_.start_timestep * start / first.start_timestep) if first.start_timestep else start
    ratio = round_.guidance_scale / first.guidance_scale if first.guidance_scale else 1.0
    return dataclasses.replace(
        round_,
        start_timestep=start,
        num_steps=min(start + 1, max(1, round(round_.num_steps * steps / first.num_steps))),
        guidance_scale=round(guidance * ratio, 4),
    )
