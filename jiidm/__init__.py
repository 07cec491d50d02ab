"""The competition kit: data, training, inference and submission around `ldm_jittor`.

`from jiidm import IIDMPipeline` and the other names here are loaded when they are first asked for; none of them loads
Jittor, which `IIDMPipeline.from_pretrained` does once it has chosen the device.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # under `python -m jiidm` a typing.py of the working folder would be imported here
if TYPE_CHECKING:
    from typing import Any

    from jiidm.api import IIDMPipeline
    from jiidm.color import color_transfer
    from jiidm.config.load import load_config

__version__ = "0.1.0"
__all__ = ["IIDMPipeline", "__version__", "color_transfer", "load_config"]
_MODULES = {"IIDMPipeline": "jiidm.api", "color_transfer": "jiidm.color", "load_config": "jiidm.config.load"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
