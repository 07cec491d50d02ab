"""What the commands that make weights of other weights do; like `commands`, with imports where they are needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from jiidm.errors import InputError


def convert(arguments) -> int:
    from jiidm import runtime

    runtime.prepare("cpu")
    from jiidm.conversion import convert

    target = arguments.target
    faults = convert(arguments.sources, target, arguments.config, arguments.set, arguments.only)
    if faults:
        for fault in faults:
            print(f"error: {fault}", file=sys.stderr)
        print(f"error: {target}: not written, {len(faults)} names do not fit the config", file=sys.stderr)
        return 2
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


def average(arguments) -> int:
    from jiidm import runtime

    runtime.prepare("cpu")
    from tqdm import tqdm

    from jiidm.conversion import check_absent
    from jiidm.model import sha256
    from ldm_jittor import averaging

    sources, target = arguments.sources, arguments.out
    if len(sources) < 2:
        raise InputError(f"{sources[0]}: one checkpoint has no average, give two or more")
    check_absent(target)
    weights = _shares(arguments.weights, len(sources))
    averaging.common_layout(sources)
    shared = _common_metadata(sources)

    sizes = [source.stat().st_size for source in sources]
    parts = []
    with tqdm(total=sum(sizes) + sizes[0], desc="averaging", unit="B", unit_scale=True) as progress:
        for source, weight, size in zip(sources, weights, sizes):
            parts.append({"file": source.name, "sha256": sha256(source), "weight": weight})
            progress.update(size)
        metadata = {**shared, "provenance": {"average_of": parts}}
        try:
            averaging.average(sources, target, weights, metadata, progress.update)
        except OSError as error:
            raise InputError(f"{target}: cannot be written ({error.strerror})") from None
    print(f"{target}: {' + '.join(f'{weight:.3g} x {source}' for source, weight in zip(sources, weights))}")
    return 0


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    from ldm_jittor import averaging

    if weights is not None and len(weights) != count:
        raise InputError(f"--weights: {len(weights)} for {count} checkpoints")
    try:
        return averaging.normalised(weights or [1.0] * count)
    except ValueError as error:
        raise InputError(f"--weights: {error}") from None


def _common_metadata(sources: Sequence[Path]) -> dict[str, object]:
    """The first file's config, or a segmenter's preprocessing, if it has one. Raises InputError where another file's
    gives the weights another meaning; how the models were trained and are used may differ."""
    from jiidm import config as configs
    from ldm_jittor import checkpoint

    def read(source: Path) -> dict[str, object]:
        metadata = checkpoint.load_metadata(source)
        return {key: metadata[key] for key in ("config", "preprocessing") if key in metadata}

    def meaning(source: Path, metadata: dict[str, object]) -> dict[str, object]:
        settings = {key: value for key, value in metadata.items() if key != "config"}
        if "config" in metadata:
            config = configs.from_dict(metadata["config"], str(source))
            settings["data.size"] = config.data.size
            for name in ("autoencoder", "unet", "schedule"):
                section = configs.to_dict(getattr(config, name))
                settings.update({f"{name}.{key}": value for key, value in section.items()})
        return settings

    found = [read(source) for source in sources]
    first, *others = map(meaning, sources, found)
    for source, other in zip(sources[1:], others):
        differing = [key for key in {**first, **other} if first.get(key) != other.get(key)]
        if differing:
            told = [f"{key} is {other.get(key)!r}, not {first.get(key)!r}" for key in differing]
            raise InputError(f"{source} does not fit {sources[0]}: {checkpoint.listed(told)}")
    return found[0]
