"""The command line: arguments in, one call out. Jittor is imported by the command that needs it, not before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

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
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_infer(commands)
    _add_data(commands)
    _add_export(commands)
    _add_schedule(commands)
    _add_doctor(commands)
    return parser


def _command(commands, name: str, run, help: str, epilog: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=help, description=help, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help=f"YAML file, or one of {', '.join(SHIPPED_CONFIGS)}")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override a setting, e.g. seed=1; repeatable",
    )


def _add_device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (default: CUDA where it works), cpu or cuda")


def _add_train(commands) -> None:
    parser = _command(
        commands,
        "train",
        _train,
        "Train on a data folder: check, split, autoencoder, latents, U-Net.",
        """examples:
  jiidm train                                  the embedded default on generated landscapes
  jiidm train DATA --config iidm               the released model's layout on your data
  jiidm train DATA --run runs/a --set diffusion_training.max_steps=50000
A run that was interrupted goes on when the same command is given again.""",
    )
    parser.add_argument("data", nargs="?", type=Path, help="folder with imgs/*.jpg and labels/*.png")
    _add_config_options(parser)
    parser.add_argument("--run", dest="folder", type=Path, help="folder of this run (default: runs/<config name>)")
    parser.add_argument(
        "--autoencoder",
        type=Path,
        metavar="FILE",
        help="use the autoencoder of this file (a trained model will do), train none",
    )
    parser.add_argument("--dry-run", action="store_true", help="build the networks, print their size, stop")
    _add_device_option(parser)


def _add_infer(commands) -> None:
    parser = _command(
        commands,
        "infer",
        _infer,
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


def _add_data(commands) -> None:
    group = commands.add_parser("data", help="Check, split, encode or generate training data.")
    actions = group.add_subparsers(title="actions", required=True, metavar="ACTION")
    check = _command(actions, "check", _data_check, "Name every fault of a data folder.")
    check.add_argument("data", type=Path)
    check.add_argument("--size", type=_size, metavar="WxH", help="size that every file must have, e.g. 512x384")
    split = _command(actions, "split", _data_split, "Write train.txt, val.txt and val_references.json.")
    split.add_argument("data", type=Path)
    split.add_argument("out", type=Path)
    split.add_argument("--validation-fraction", type=float, default=0.05, metavar="F")
    split.add_argument("--seed", type=int, default=0)
    encode = _command(actions, "encode", _data_encode, "Encode every image into the latent training cache.")
    encode.add_argument("data", type=Path)
    encode.add_argument("out", type=Path)
    encode.add_argument("--checkpoint", type=Path, metavar="FILE", help="model whose autoencoder encodes")
    _add_device_option(encode)
    synth = _command(actions, "synth", _data_synth, "Generate landscapes with exact masks.")
    synth.add_argument("out", type=Path)
    synth.add_argument("--count", type=int, default=100)
    synth.add_argument("--size", type=_size, default=(512, 384), metavar="WxH")
    synth.add_argument("--seed", type=int, default=0)


def _add_export(commands) -> None:
    parser = _command(commands, "export", _export, "Write a trained model in half precision, to pass it on.")
    parser.add_argument("source", type=Path, help="model.safetensors of a run")
    parser.add_argument("target", type=Path, help="the file to write")


def _add_schedule(commands) -> None:
    parser = _command(
        commands,
        "schedule",
        _schedule,
        "Print what each round of a config starts from: timestep, sqrt(abar), passes.",
    )
    parser.add_argument("configs", nargs="*", default=list(SHIPPED_CONFIGS), help="default: every shipped config")


def _add_doctor(commands) -> None:
    parser = _command(commands, "doctor", _doctor, "Check whether this machine can run Jittor, and say what to mend.")
    parser.add_argument("--quick", action="store_true", help="do not import Jittor")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 512x384")
    return int(width), int(height)


def _start_jittor(device: str) -> None:
    from jiidm import runtime

    chosen = runtime.prepare(device)
    print(f"device: {chosen.device}{f' ({chosen.note})' if chosen.note else ''}")
    runtime.use_device(chosen.device)


def _train(arguments) -> int:
    from jiidm import config as configs

    config = configs.load(arguments.config or DEFAULT_CONFIG, arguments.set)
    folder = arguments.folder or Path("runs") / config.name
    _start_jittor(arguments.device)
    if arguments.dry_run:
        return _print_footprint(config)
    from jiidm.run import train

    path = train(config, arguments.data, folder, arguments.autoencoder)
    print(f"trained model: {path}\nuse it with: bash run_infer.sh MASKS REFS.json OUT --checkpoint {path}")
    return 0


def _infer(arguments) -> int:
    from jiidm import infer

    if (arguments.masks is None) != (arguments.out is None):
        raise InputError("give MASKS, REFS.json and OUT, or none of them")
    out = arguments.out or Path("out")
    # what can be wrong is looked at before Jittor takes its seconds to start
    jobs = infer.check_inputs(arguments.masks, arguments.references, arguments.data) if arguments.masks else []
    _start_jittor(arguments.device)
    model_path, config = _choose_model(arguments)
    from jiidm.model import sha256

    if arguments.dry_run:
        return _print_footprint(config)
    demo = not jobs
    if demo:
        jobs = infer.check_inputs(*infer.write_demo_inputs(out, config.data.size), None)
    identity = infer.identity_of(sha256(model_path), config, arguments.seed)
    # the demo's images are nobody's work, and the demo has to show the model that is there now
    infer.check_output(out, jobs, identity, repaint=demo)
    infer.infer(jobs, out, model_path, config, arguments.seed, identity)
    return 0


def _choose_model(arguments):
    """The model file and the config to run it with; says which."""
    from jiidm import config as configs
    from jiidm import model
    from ldm_jittor import checkpoint

    path = arguments.checkpoint or model.find_model()
    checkpoint.load_metadata(path)  # a missing or foreign file is told before anything else is done
    config = configs.load(arguments.config) if arguments.config else model.stored_config(path)
    overrides = list(arguments.set)
    if arguments.batch_size is not None:
        overrides.append(f"inference.batch_size={arguments.batch_size}")
    config = configs.override(config, overrides)
    print(f"model: {path} ({config.name}, {config.data.size[0]}x{config.data.size[1]})")
    return path, config


def _print_footprint(config) -> int:
    from jiidm.footprint import describe

    print(describe(config))
    return 0


def _data_check(arguments) -> int:
    from jiidm.data import survey
    from jiidm.report import table

    found = survey(arguments.data, arguments.size)
    for fault in found.faults:
        print(f"error: {fault}", file=sys.stderr)
    sizes = ", ".join(f"{count} of {w}x{h}" for (w, h), count in found.sizes.most_common())
    print(f"{found.num_pairs} pairs, {len(found.faults)} faults; sizes: {sizes}")
    print(table([(name, 100 * share) for name, share in found.class_shares()], ("class", "% of pixels")))
    return 2 if found.faults else 0


def _data_split(arguments) -> int:
    from jiidm import data

    train, validation = data.split(data.find_pairs(arguments.data), arguments.validation_fraction, arguments.seed)
    data.write_split(arguments.out, train, validation, arguments.seed)
    print(f"{len(train)} training and {len(validation)} validation pairs, listed in {arguments.out}")
    return 0


def _data_encode(arguments) -> int:
    _start_jittor(arguments.device)
    from jiidm import model
    from jiidm.data import find_pairs
    from jiidm.latents import encode_dataset

    loaded = model.load_model(arguments.checkpoint or model.find_model())
    pairs = find_pairs(arguments.data)
    config = loaded.config
    encode_dataset(loaded.space.autoencoder, pairs, arguments.out, config.data.size, config.autoencoder.downsample)
    print(f"{len(pairs)} pairs encoded in {arguments.out}")
    return 0


def _data_synth(arguments) -> int:
    from jiidm.synthetic import write_dataset

    write_dataset(arguments.out, arguments.count, arguments.size, seed=arguments.seed)
    print(f"{arguments.count} landscapes in {arguments.out}")
    return 0


def _export(arguments) -> int:
    from jiidm import runtime

    runtime.prepare("cpu")
    from jiidm.model import export_half

    export_half(arguments.source, arguments.target)
    print(f"{arguments.target}: {arguments.target.stat().st_size / 1e6:.1f} MB")
    return 0


def _schedule(arguments) -> int:
    from jiidm import runtime

    runtime.prepare("cpu")
    from jiidm.footprint import describe_starts

    print(describe_starts(arguments.configs))
    return 0


def _doctor(arguments) -> int:
    from jiidm import doctor

    return doctor.run(arguments.quick)
