"""`jiidm train` and `jiidm train segmenter`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jiidm.cli import options, report
from jiidm.errors import InputError
from jiidm.system import launch, memory, ranks

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
  jiidm train DATA --config iidm --ranks 4     on four GPUs: the same model as on one, sooner
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
    options.add_dry_run_option(
        parser,
        "print the networks' size and stop; with --ranks N also time three steps, and predict an epoch on 1 to 8",
    )
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
    help = "train in N processes of this machine, by Open MPI; for several machines see docs/distributed.md"
    parser.add_argument("--ranks", type=int, metavar="N", help=help)
    options.add_device_option(parser)


def _train(arguments: argparse.Namespace) -> int | None:
    from jiidm.config.rules import autoencoder_can_be_trained

    config = options.read_config(arguments, "train", UNUSED)
    folder = arguments.folder or Path("runs") / config.name
    _warn_of_given_data(arguments)
    if arguments.autoencoder:
        options.warn_unused(arguments.set, "--autoencoder", ("autoencoder_training",))
    if config.is_gan and arguments.autoencoder:
        raise InputError(f"--autoencoder: {config.name} is a {config.method}, which does not use it")
    if config.is_gan:
        trained = ["gan_training"]
    else:
        trained = ["diffusion_training", *([] if arguments.autoencoder else ["autoencoder_training"])]
    if "autoencoder_training" in trained:
        for key, value, expected in autoencoder_can_be_trained(config):
            raise InputError(f"{key}: {value}, expected {expected}")
    if arguments.dry_run and arguments.ranks is not None:
        options.require_diffusion(config, "train --dry-run --ranks")
    if _starts_ranks(arguments, config, trained):
        return launch.run_ranks(arguments.ranks, arguments.words)
    options.start_jittor(arguments.device)
    if arguments.dry_run:
        options.print_footprint(config)
        if arguments.ranks is not None or ranks.started_by_mpi():
            from jiidm.train.forecast import forecast

            print(forecast(config))
        return None
    memory.require_room_to_train()
    launch.start_watchdog()
    if config.is_gan:
        from jiidm.baselines.run import train_gan

        path = train_gan(config, arguments.data, folder, arguments.inception)
    else:
        from jiidm.experiments.released import hooks_for
        from jiidm.train.run import train

        path = train(config, arguments.data, folder, arguments.autoencoder, arguments.inception, hooks_for(config))
    _report(folder)
    print(f"trained model: {path}\nuse it with: bash run_infer.sh MASKS REFS.json OUT --checkpoint {path}")
    return None


def _starts_ranks(arguments: argparse.Namespace, config: Config, trained: Sequence[str]) -> bool:
    """Whether this process has to start those that train. Raises InputError for batches that they cannot share."""
    from jiidm.config.rules import batches_fit_ranks

    launch.check_start()
    asked = arguments.ranks
    count = ranks.size() if ranks.started_by_mpi() else asked or 1
    if asked is not None and asked != count or count < 1:
        started = f", and mpirun has started {count}" if ranks.started_by_mpi() else ""
        raise InputError(f"--ranks {asked}: must be 1 or more{started}")
    for key, value, expected in batches_fit_ranks(config, trained, count):
        raise InputError(f"{key}: {value}, expected {expected}")
    return count > 1 and not ranks.started_by_mpi()


def _train_segmenter(arguments: argparse.Namespace) -> int | None:
    config = options.read_config(arguments, "train segmenter", UNUSED_BY_SEGMENTER)
    folder = arguments.folder or Path("runs") / f"{config.name}_segmenter"
    _warn_of_given_data(arguments)
    if _starts_ranks(arguments, config, ["segmenter"]):
        return launch.run_ranks(arguments.ranks, arguments.words)
    options.start_jittor(arguments.device)
    memory.require_room_to_train()
    launch.start_watchdog()
    from jiidm.train.run import train_segmenter_run

    path = train_segmenter_run(config, arguments.data, folder)
    _report(folder)
    print(f"trained segmenter: {path}\nuse it with: jiidm score OUT ... --segmenter {path}")
    return None


def _report(folder: Path) -> None:
    from jiidm.train.report import write_report

    if page := ranks.on_first(lambda: write_report(folder)):
        report.tell(page)


def _warn_of_given_data(arguments: argparse.Namespace) -> None:
    if arguments.data:
        options.warn_unused(arguments.set, "DATA", ("data.synthetic_count",))
