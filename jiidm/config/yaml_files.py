"""YAML as configs use it: safe, and with every key once. PyYAML would silently take the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from jiidm.errors import InputError
from ldm_jittor.files import read_text

_MAX_LENGTH, _MAX_DEPTH, _MAX_ALIASES = 1 << 18, 50, 20
"""Characters, of which PyYAML reads some 100,000 a second; levels; uses of anchors, each of which may double the rest.
Configs have thousands, six and few."""


class _Loader(yaml.SafeLoader):
    depth = aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.aliases += self.check_event(yaml.AliasEvent)
        self.depth += 1
        if self.depth > _MAX_DEPTH or self.aliases > _MAX_ALIASES:
            raise yaml.YAMLError("nested too deeply" if self.depth > _MAX_DEPTH else "more than 20 aliases")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

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
    if len(text) > _MAX_LENGTH:
        raise yaml.YAMLError(f"longer than {_MAX_LENGTH} characters")
    try:
        return yaml.load(text, _Loader)
    except ValueError as error:  # PyYAML passes on what Python says of dates and numbers
        raise yaml.YAMLError(f"a value that cannot be: {error}") from None
    except (LookupError, AttributeError, TypeError):  # and stumbles over tags
        raise yaml.YAMLError("a tag whose value cannot be") from None


def read(path: Path) -> Any:
    """The value of a file, an empty mapping where it is empty. Raises InputError naming it."""
    try:
        tree = parse(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the config ({getattr(error, 'strerror', None) or error})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    return {} if tree is None else tree
