"""The settings that a run was started with, and the changes since: its config.yaml and config_history.json."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.data.identity import differing, require_same
from jiidm.errors import InputError
from jiidm.train.sealed import seal, unseal
from ldm_jittor.files import atomic_path, read_json

logger = logging.getLogger(__name__)

CONFIG_FILE, HISTORY_FILE = "config.yaml", "config_history.json"
DECIDES_NOTHING = "checkpoint_every"
"""This key may change in any section without making it another training."""


def claim(config: Config, folder: Path, sections: Sequence[str]) -> None:
    """Create the run folder, or see that the config in it agrees in these sections.

    Raises InputError where it does not, and where the folder cannot be written.
    """
    path = folder / CONFIG_FILE
    if path.exists():
        before, now = (_deciding(found, sections) for found in (configs.load_saved(path), config))
        require_same(path, before, now, "choose another --run folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot write the training run there ({error.strerror})") from None


def keep(config: Config, folder: Path, step: int, sections: Sequence[str]) -> list[dict[str, Any]]:
    """Make `config` the run's own after so many steps. Returns the history of changes in these sections.

    Each entry is {"step": n, "changed": {"section.key": [old, new]}}. Raises InputError for a damaged history.
    """
    path = folder / CONFIG_FILE
    changes = read_history(folder)
    before = _tree(configs.load_saved(path) if path.exists() else config, sections)
    if found := differing(before, _tree(config, sections)):
        entry = {"step": step, "changed": {key: [old, new] for key, old, new in found}}
        told = ", ".join(f"{key} {old} -> {new}" for key, old, new in found)
        logger.info("%s: settings changed at step %d: %s", folder, step, told)
        if entry not in changes[-1:]:  # a run may be killed between the two files
            changes.append(entry)
            _write(
                folder / HISTORY_FILE,
                json.dumps([seal(entry) for entry in changes], indent=1, ensure_ascii=False) + "\n",
            )
    _write(path, configs.to_yaml(config))
    return changes


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The changes that `keep` has written, oldest first. Raises InputError for a file that is no such list."""
    path = folder / HISTORY_FILE
    try:
        changes = [unseal(entry) for entry in read_json(path)]
        if not all(entry.keys() == {"step", "changed"} for entry in changes):
            raise ValueError("an entry with other keys")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a history of settings ({error})") from None
    return changes


def _tree(config: Config, sections: Sequence[str]) -> dict[str, Any]:
    return {section: configs.to_dict(getattr(config, section)) for section in sections}


def _deciding(config: Config, sections: Sequence[str]) -> dict[str, Any]:
    tree = _tree(config, sections)
    for settings in tree.values():
        if isinstance(settings, dict):
            settings.pop(DECIDES_NOTHING, None)
    return tree


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
