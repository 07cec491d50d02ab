"""The GANs that the paper compares with: their networks, by name. Importing this loads no Jittor."""

from __future__ import annotations

from typing import Any

__all__ = ["build_discriminator", "build_encoder", "build_generator"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jiidm.baselines import build

    return getattr(build, name)
