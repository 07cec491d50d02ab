"""YAML as configs use it: safe, and with every key once. PyYAML would silently take the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from jiidm.errors import InputError


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(str(key.value))
        return node


def parse(text: str) -> Any:
    """The value of YAML text. Raises yaml.YAMLError."""
    try:
        return yaml.load(text, _Loader)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None


def read(path: Path) -> Any:
    """The value of a file, an empty mapping where it is empty. Raises InputError naming it."""
    try:
        tree = parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the config ({getattr(error, 'strerror', None) or error})") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    return {} if tree is None else tree
