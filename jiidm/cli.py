"""The command line: what can be asked for, and how. What is then done stands in `commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jiidm import commands
from jiidm.errors import InputError

DEFAULT_CONFIG = "demo"
SHIPPED_CONFIGS = ("demo", "smoke", "iidm", "iidm_paper")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 2 for bad input, which is told in one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except InputError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from what is saved", file=sys.stderr)
        return 130
    except ValueError as error:
        # the core's own exception cannot be imported above, because that would import Jittor
        if type(error).__name__ == "CheckpointError":
            return _refuse(error)
        raise


def _refuse(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jiidm", description="Semantic landscape synthesis with IIDM in Jittor.")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_train(subparsers)
    _add_infer(subparsers)
    _add_data(subparsers)
    _add_export(subparsers)
    _add_schedule(subparsers)
    _add_doctor(subparsers)
    return parser


def _command(subparsers, name: str, run, help: str, epilog: str = "") -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        name, help=help, description=help, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def _add_config_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    help = f"YAML file, or one of {', '.join(SHIPPED_CONFIGS)}"
    parser.add_argument("--config", metavar="FILE", default=default, help=help)
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override a setting, e.g. seed=1; repeatable"
    )


def _add_device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (default: CUDA where it works), cpu or cuda")


def _add_train(subparsers) -> None:
    parser = _command(
        subparsers,
        "train",
        commands.train,
        "Train on a data folder: check, split, autoencoder, latents, U-Net.",
        """examples:
  jiidm train                                  the embedded default on generated landscapes
  jiidm train DATA --config iidm               the released model's layout on your data
  jiidm train DATA --run runs/a --set diffusion_training.max_steps=50000
A run that was interrupted goes on when the same command is given again.""",
    )
    parser.add_argument("data", nargs="?", type=Path, help="folder with imgs/*.jpg and labels/*.png")
    _add_config_options(parser, DEFAULT_CONFIG)
    parser.add_argument("--run", dest="folder", type=Path, help="folder of this run (default: runs/<config name>)")
    parser.add_argument(
        "--autoencoder",
        type=Path,
        metavar="FILE",
        help="use the autoencoder of this file (a trained model will do), train none",
    )
    parser.add_argument("--dry-run", action="store_true", help="build the networks, print their size, stop")
    _add_device_option(parser)


def _add_infer(subparsers) -> None:
    parser = _command(
        subparsers,
        "infer",
        commands.infer,
        "Paint masks in the style of reference photos; writes a submission folder.",
        """examples:
  jiidm infer                                  generated masks and references -> out/
  jiidm infer test_masks/ refs.json out/       one OUT/<mask>.jpg for every mask
  jiidm infer test_masks/ refs.json out/ --data train/ --checkpoint runs/a/model.safetensors
Images that are there already are kept, so an interrupted call goes on. OUT/_run has the contact sheet.""",
    )
    parser.add_argument("masks", nargs="?", type=Path, help="folder of 8-bit label PNGs, classes 0-28")
    parser.add_argument("references", nargs="?", type=Path, help='JSON {"<mask>.png": "<image>.jpg"}')
    parser.add_argument("out", nargs="?", type=Path, help="output folder (default: out)")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="model (default: last finished run, else shipped)"
    )
    _add_config_options(parser)
    parser.add_argument("--data", type=Path, metavar="ROOT", help="training data whose imgs/ holds the references")
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="images per batch; changes them by float noise only"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    parser.add_argument("--dry-run", action="store_true", help="check the inputs, print the model's size, stop")
    _add_device_option(parser)


def _add_data(subparsers) -> None:
    group = subparsers.add_parser("data", help="Check, split, encode or generate training data.")
    actions = group.add_subparsers(title="actions", required=True, metavar="ACTION")
    check = _command(actions, "check", commands.data_check, "Name every fault of a data folder.")
    check.add_argument("data", type=Path)
    check.add_argument("--size", type=_size, metavar="WxH", help="size that every file must have, e.g. 512x384")
    split = _command(actions, "split", commands.data_split, "Write train.txt, val.txt and val_references.json.")
    split.add_argument("data", type=Path)
    split.add_argument("out", type=Path)
    split.add_argument("--validation-fraction", type=float, default=0.05, metavar="F")
    split.add_argument("--seed", type=int, default=0)
    encode = _command(actions, "encode", commands.data_encode, "Encode every image into the latent training cache.")
    encode.add_argument("data", type=Path)
    encode.add_argument("out", type=Path)
    encode.add_argument("--checkpoint", type=Path, metavar="FILE", help="model whose autoencoder encodes")
    _add_device_option(encode)
    synth = _command(actions, "synth", commands.data_synth, "Generate landscapes with exact masks.")
    synth.add_argument("out", type=Path)
    synth.add_argument("--count", type=int, default=100)
    synth.add_argument("--size", type=_size, default=(512, 384), metavar="WxH")
    synth.add_argument("--seed", type=int, default=0)


def _add_export(subparsers) -> None:
    parser = _command(subparsers, "export", commands.export, "Write a trained model in half precision, to pass it on.")
    parser.add_argument("source", type=Path, help="model.safetensors of a run")
    parser.add_argument("target", type=Path, help="the file to write")


def _add_schedule(subparsers) -> None:
    parser = _command(
        subparsers,
        "schedule",
        commands.schedule,
        "Print what each round of a config starts from: timestep, sqrt(abar), passes.",
    )
    parser.add_argument("configs", nargs="*", default=list(SHIPPED_CONFIGS), help="default: every shipped config")


def _add_doctor(subparsers) -> None:
    parser = _command(
        subparsers, "doctor", commands.doctor, "Check whether this machine can run Jittor, and say what to mend."
    )
    parser.add_argument("--quick", action="store_true", help="do not import Jittor")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 512x384")
    return int(width), int(height)
