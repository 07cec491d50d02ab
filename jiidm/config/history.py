"""Keys of earlier versions of the kit: what they mean in saved configs, and what to tell users of one."""

from __future__ import annotations

import re
from typing import Any

RENAMED: dict[str, str] = {
    "inference.jpeg_between_rounds": "released.jpeg_between_rounds",
}
"""Old key -> new key, each `section.name`."""
MOVED: dict[str, str] = {
    "inference.rounds.N.noise_timestep": "released.noise_timesteps",
    "inference.clip_x0": "inference.rounds.N.clip_x0",
}
"""The same for keys that went into the list of rounds, or came out of it. N stands for the numbers of its items."""


def told_of(key: str) -> str:
    """What to say of a key that an earlier version knew; empty for any other."""
    new = (RENAMED | MOVED).get(re.sub(r"\.\d+(?=\.|$)", ".N", key))
    return f"it is {new} now" if new else ""


def modernised(tree: Any) -> Any:
    """The tree of a saved config with today's keys. A tree that is no config stays as it is, for others to refuse."""
    if not isinstance(tree, dict):
        return tree
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in tree.items()}
    for old, new in RENAMED.items():
        section, _, name = old.partition(".")
        if isinstance(tree.get(section), dict) and name in tree[section]:
            _set_absent(tree, new, tree[section].pop(name))
    _collect_noise_timesteps(tree)
    _spread_clip_x0(tree)
    _tell_groups(tree)
    return tree


def _collect_noise_timesteps(tree: dict[str, Any]) -> None:
    """Collect each round's noise_timestep, null where it is that of the start, into one list for all rounds."""
    rounds = tree["inference"].get("rounds") if isinstance(tree.get("inference"), dict) else None
    if isinstance(rounds, list) and all(isinstance(round_, dict) for round_ in rounds):
        rounds = tree["inference"]["rounds"] = [dict(round_) for round_ in rounds]
        found = [round_.pop("noise_timestep", None) for round_ in rounds]
        if any(timestep is not None for timestep in found):
            starts = [round_.get("start_timestep") for round_ in rounds]
            timesteps = [start if timestep is None else timestep for timestep, start in zip(found, starts)]
            _set_absent(tree, "released.noise_timesteps", timesteps)


def _spread_clip_x0(tree: dict[str, Any]) -> None:
    """Give every round the bound that was one for all rounds."""
    inference = tree.get("inference")
    if isinstance(inference, dict) and "clip_x0" in inference:
        bound = inference.pop("clip_x0")
        rounds = inference.get("rounds")
        if isinstance(rounds, list):
            inference["rounds"] = [
                {"clip_x0": bound, **round_} if isinstance(round_, dict) else round_ for round_ in rounds
            ]


def _tell_groups(tree: dict[str, Any]) -> None:
    """Before it was a setting, group norm had at least 4 channels a group: fewer than 32 groups below 128 channels."""
    for section, channels in (("autoencoder", "channels"), ("unet", "model_channels")):
        part = tree.get(section)
        if isinstance(part, dict) and not has_groups(part):
            width = part.get(channels)
            part.update(norm_groups=32, norm_min_channels=4 if isinstance(width, int) and width < 128 else 1)


def has_groups(section: dict[str, Any]) -> bool:
    """Whether a network's section of a saved config says how many groups its group norms have."""
    return "norm_groups" in section or "norm_min_channels" in section


def _set_absent(tree: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    if isinstance(tree.setdefault(section, {}), dict):
        tree[section].setdefault(name, value)
