"""The networks that a training run learned or chose with besides its own, so that a score by one of them is noticed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jiidm.data.identity import require_same
from jiidm.errors import InputError
from jiidm.train.sealed import seal, unseal
from ldm_jittor.files import atomic_path, read_json

NETWORKS_FILE = "networks.json"


class Used(NamedTuple):
    use: str
    """perceptual or validation."""
    name: str
    sha256: str
    """Of the file's content."""


def record(folder: Path, used: Sequence[Used]) -> list[dict[str, str]]:
    """Add networks to the list of those that a run has used, in `folder`/networks.json, and return it whole.

    A network stays on the list when the settings change and it is used no more. Raises InputError for a file that is no
    such list, and for another perceptual network under the name of an earlier one: the loss would change unnoticed.
    """
    path = folder / NETWORKS_FILE
    try:
        known = [Used(**unseal(entry)) for entry in read_json(path)] if path.exists() else []
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a list of networks ({error})") from None
    before, now = (
        {network.name: network.sha256 for network in each if network.use == "perceptual"} for each in (known, used)
    )
    shared = {name: before[name] for name in now if name in before}
    require_same(
        path, shared, {name: now[name] for name in shared}, "give the same file again, or choose another --run"
    )
    entries = [network._asdict() for network in dict.fromkeys([*known, *used])]
    if len(entries) > len(known):
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps([seal(entry) for entry in entries], indent=1) + "\n", encoding="utf-8")
    return entries
