"""The commands that make weights from other weights: `jiidm convert`, `average` and `export`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jiidm.cli import console, options
from jiidm.errors import InputError


def add_convert(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "convert",
        _convert,
        "Make a file of this kit from released, PyTorch or diffusers weights, or take a network out of one.",
        """examples:
  jiidm convert unet_average.pkl vq.pkl model.safetensors        the released weights -> infer --checkpoint
  jiidm convert vq-f4.ckpt autoencoder.safetensors               of latent-diffusion -> train --autoencoder
  jiidm convert model.safetensors unet.safetensors --only unet   -> PyTorch's SDM, whose names it has
A source is a .pkl of Jittor, a .pt, .pth or .ckpt of PyTorch, a diffusers folder or a .safetensors. Its names tell
the layout. No code in it is run. Every name and shape has to fit the config: the one given, else the one in a source,
else iidm.""",
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="SRC", help="file or diffusers folder")
    parser.add_argument("target", type=Path, metavar="DST", help="the .safetensors file to write")
    help = "write this network alone, under bare names"
    parser.add_argument("--only", choices=("autoencoder", "unet"), help=help)
    options.add_config_options(parser)


def _convert(arguments: argparse.Namespace) -> int:
    options.start_jittor_on_cpu()
    from jiidm.model.convert import convert

    target = arguments.target
    faults = convert(arguments.sources, target, arguments.config, arguments.set, arguments.only)
    if faults:
        for fault in faults:
            console.tell_error(fault)
        console.tell_error(f"{target}: not written, {len(faults)} names do not fit the config")
        return 2
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


def add_average(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "average",
        _average,
        "Write the mean of several checkpoints of one model (IIDM's eq. 7).",
        """examples:
  jiidm average a.safetensors b.safetensors --out mean.safetensors
  jiidm average a.safetensors b.safetensors --out mean.safetensors --weights 0.3 0.7
  jiidm average --best 2 runs/a --out mean.safetensors      of smallest validation distance""",
    )
    help = "safetensors file, two or more; with --best the folder of a training run"
    parser.add_argument("sources", nargs="+", type=Path, metavar="CHECKPOINT", help=help)
    help = "average the N checkpoints of the run's smallest validation distances"
    parser.add_argument("--best", type=int, metavar="N", help=help)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    help = "one per checkpoint; they are divided by their sum (default: equal)"
    parser.add_argument("--weights", nargs="+", type=float, metavar="W", help=help)


def _average(arguments: argparse.Namespace) -> None:
    options.start_jittor_on_cpu()
    from jiidm.model import average as averages
    from jiidm.model.convert import check_absent
    from jiidm.train.checkpoints import average_best

    sources, target, best = arguments.sources, arguments.out, arguments.best
    if best is not None and (best < 2 or len(sources) > 1):
        raise InputError(f"--best {best}: needs 2 or more, and one training run")
    if best is None and len(sources) < 2:
        raise InputError(f"{sources[0]}: one checkpoint has no average; give two or more, or --best N and a run")
    check_absent(target)
    weights = _shares(arguments.weights, best or len(sources))
    if best:
        average_best(sources[0], target, weights)
        return
    averages.write_mean(sources, target, weights)
    print(f"{target}: {' + '.join(f'{weight:.3g} x {source}' for source, weight in zip(sources, weights))}")


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    from ldm_jittor import averaging

    if weights is not None and len(weights) != count:
        raise InputError(f"--weights: {len(weights)} for {count} checkpoints")
    try:
        return averaging.normalised(weights or [1.0] * count)
    except ValueError as error:
        raise InputError(f"--weights: {error}") from None


def add_export(commands: Any) -> None:
    parser = options.add_command(commands, "export", _export, "Write a trained model in half precision, to pass it on.")
    parser.add_argument("source", type=Path, help="model.safetensors or segmenter.safetensors of a run")
    parser.add_argument("target", type=Path, help="the file to write")


def _export(arguments: argparse.Namespace) -> None:
    options.start_jittor_on_cpu()
    from jiidm.model.files import export_half

    export_half(arguments.source, arguments.target)
    print(f"{arguments.target}: {arguments.target.stat().st_size / 1e6:.1f} MB")
