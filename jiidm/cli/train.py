"""`jiidm train` and `jiidm train segmenter`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jiidm.cli import options
from jiidm.errors import InputError

if TYPE_CHECKING:
    from jiidm.config.schema import Config

UNUSED = ("segmenter",)
UNUSED_BY_SEGMENTER = (
    *("method", "gan", "gan_training"),
    *("data.size", "autoencoder", "unet", "schedule"),
    *("autoencoder_training", "diffusion_training", "inference", "released"),
)


def add_train(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "train",
        _train,
        "Train on a data folder: check, split, autoencoder, latents, U-Net.",
        """examples:
  jiidm train                                  the embedded default on generated landscapes
  jiidm train DATA --config iidm               the released model's layout on your data
  jiidm train DATA --config gaugan             a GAN to compare with: gaugan, clade, sean, scgan
  jiidm train DATA --run runs/a --set diffusion_training.max_steps=50000
A run that was interrupted goes on when the same command is given again.
`jiidm train segmenter` is another command: it trains the network that scores masks. A data folder of that name is
./segmenter.""",
    )
    _add_shared_options(parser, "runs/<config name>")
    parser.add_argument(
        "--autoencoder",
        type=Path,
        metavar="FILE",
        help="take the autoencoder from this file (model, released or PyTorch file, diffusers folder) and train none",
    )
    help = "weights of the FID Inception-v3, which then ranks the checkpoints (default: fd_seg, which needs none)"
    parser.add_argument("--inception", type=Path, metavar="FILE", help=help)
    options.add_dry_run_option(parser, "build the networks, print their size and stop")
    _add_segmenter(parser)


def _add_segmenter(train: options.Parser) -> None:
    parser = options.add_subcommand(
        train,
        "segmenter",
        _train_segmenter,
        "Train the SegFormer behind M, which tells how well images show their masks.",
        """examples:
  jiidm train segmenter                        the small one that ships, on generated landscapes
  jiidm train segmenter DATA --config iidm     MiT-B0 at 512x384 on your data
  jiidm train segmenter DATA --set segmenter.variant=b2 --run runs/segmenter
A run that was interrupted goes on when the same command is given again.""",
    )
    _add_shared_options(parser, "runs/<config name>_segmenter")


def _add_shared_options(parser: options.Parser, default_folder: str) -> None:
    parser.add_argument("data", nargs="?", type=Path, help="folder with imgs/*.jpg and labels/*.png")
    options.add_config_options(parser, options.DEFAULT_CONFIG)
    help = f"folder of this run (default: {default_folder})"
    parser.add_argument("--run", dest="folder", type=Path, help=help)
    options.add_device_option(parser)


def _train(arguments: argparse.Namespace) -> None:
    config = options.read_config(arguments, "train", UNUSED)
    folder = arguments.folder or Path("runs") / config.name
    _warn_of_given_data(arguments)
    if arguments.autoencoder:
        options.warn_unused(arguments.set, "--autoencoder", ("autoencoder_training",))
    if config.is_gan:
        _refuse_for_gans(config, arguments)
    options.start_jittor(arguments.device)
    if arguments.dry_run:
        options.print_footprint(config)
        return
    if config.is_gan:
        from jiidm.baselines.run import train_gan

        path = train_gan(config, arguments.data, folder)
    else:
        from jiidm.experiments.released import hooks_for
        from jiidm.train.run import train

        path = train(config, arguments.data, folder, arguments.autoencoder, arguments.inception, hooks_for(config))
    print(f"trained model: {path}\nuse it with: bash run_infer.sh MASKS REFS.json OUT --checkpoint {path}")


def _refuse_for_gans(config: Config, arguments: argparse.Namespace) -> None:
    """Raises InputError for options of the diffusion model."""
    for option in ("autoencoder", "inception"):
        if getattr(arguments, option):
            raise InputError(f"--{option}: {config.name} is a {config.method}, which does not use it")


def _train_segmenter(arguments: argparse.Namespace) -> None:
    config = options.read_config(arguments, "train segmenter", UNUSED_BY_SEGMENTER)
    folder = arguments.folder or Path("runs") / f"{config.name}_segmenter"
    _warn_of_given_data(arguments)
    options.start_jittor(arguments.device)
    from jiidm.train.run import train_segmenter_run

    path = train_segmenter_run(config, arguments.data, folder)
    print(f"trained segmenter: {path}\nuse it with: jiidm score OUT ... --segmenter {path}")


def _warn_of_given_data(arguments: argparse.Namespace) -> None:
    if arguments.data:
        options.warn_unused(arguments.set, "DATA", ("data.synthetic_count",))
