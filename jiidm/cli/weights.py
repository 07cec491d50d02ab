"""The commands that make weights from other weights: `jiidm convert`, `average` and `export`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jiidm.cli import console, options
from jiidm.errors import InputError

if TYPE_CHECKING:
    from jiidm.config.schema import Config

GAN_NETWORKS = ("generator", "encoder")


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
  jiidm convert latest_net_G.pth latest_net_E.pth gaugan.safetensors --config gaugan
  jiidm convert latest_net_G.pth sean.safetensors --config sean  of SPADE, CLADE, SEAN and SCGAN -> infer --checkpoint
  jiidm convert gaugan.safetensors G.safetensors --only generator  -> PyTorch's SPADE, whose names it has
A source is a .pkl of Jittor, a .pt, .pth or .ckpt of PyTorch, a diffusers folder or a .safetensors. Its names tell
the layout. No code in it is run. Every name and shape has to fit the config: the one given, else the one in a source,
else iidm.""",
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="SRC", help="file or diffusers folder")
    parser.add_argument("target", type=Path, metavar="DST", help="the .safetensors file to write")
    help = "write this network alone, under bare names"
    parser.add_argument("--only", choices=("autoencoder", "unet", *GAN_NETWORKS), help=help)
    options.add_config_options(parser)


def _convert(arguments: argparse.Namespace) -> int:
    options.start_jittor_on_cpu()
    from jiidm.config.load import load_config
    from jiidm.model.convert import convert

    sources, target, only = arguments.sources, arguments.target, arguments.only
    given = load_config(arguments.config, arguments.set) if arguments.config else None
    if only in GAN_NETWORKS or (given and given.is_gan):
        _convert_gan(arguments, given)
    elif faults := convert(sources, target, arguments.config, arguments.set, only):
        for fault in faults:
            console.tell_error(fault)
        console.tell_error(f"{target}: not written, {len(faults)} names do not fit the config")
        return 2
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


def _convert_gan(arguments: argparse.Namespace, config: Config | None) -> None:
    """Published networks of a GAN to a model with --config; a network of a model to a published one with --only."""
    from jiidm.baselines.convert import convert_gan, extract
    from jiidm.model.convert import check_target
    from jiidm.model.files import stored_config

    sources, target, only = arguments.sources, arguments.target, arguments.only
    check_target(target)
    if only is None:
        assert config is not None  # which is a GAN's
        convert_gan(sources, target, config)
    elif only not in GAN_NETWORKS or config is not None or arguments.set or len(sources) > 1:
        raise InputError(f"--only {only}: takes a network out of one GAN of this kit, without --config and --set")
    else:
        extract(sources[0], target, stored_config(sources[0]), only)


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
