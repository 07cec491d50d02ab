"""Options that several commands share, each with its effect."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jiidm.errors import InputError
from jiidm.size import Size
from jiidm.system.shards import WHOLE, Shard, parse_shard

if TYPE_CHECKING:
    from jiidm.config.schema import Config
    from jiidm.model.files import ModelFile

logger = logging.getLogger(__name__)

DEFAULT_CONFIG = "demo"
DIFFUSION_CONFIGS = ("demo", "demo_paper", "smoke", "iidm", "iidm_released", "iidm_paper")
TABLE1_CONFIGS = tuple(f"table1_{name}" for name in ("gaugan", "clade", "sean", "scgan", "iidm", "judge"))
SHIPPED_CONFIGS = (*DIFFUSION_CONFIGS, "gaugan", "clade", "sean", "scgan", "smoke_gaugan", *TABLE1_CONFIGS)
TRAINING_ONLY = (
    "data.validation_fraction",
    "data.synthetic_count",
    "autoencoder_training",
    "diffusion_training",
    "gan_training",
    "segmenter",
)
"""Settings without effect once a model is trained: keys, or sections with all their keys."""


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that refuses wrong usage in one line, like any other bad input.

    A first word in `subcommands` is a command of its own. Any other may be an argument.
    """

    def __init__(self, *given: Any, **options: Any):
        super().__init__(*given, **options)
        self.subcommands: dict[str, Parser] = {}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if args and args[0] in self.subcommands:
            return self.subcommands[args[0]].parse_known_args(args[1:], namespace)
        return super().parse_known_args(args, namespace)

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own takes no notice of a closed pipe or a full disk behind stdout."""
        (file or sys.stdout).write(message)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], help: str, epilog: str = ""
) -> Parser:
    """A command that calls `run`; the help texts keep their line breaks."""
    parser = commands.add_parser(
        name, help=help, description=help, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(run=run)
    return parser


def add_subcommand(
    parent: Parser, name: str, run: Callable[[argparse.Namespace], int | None], help: str, epilog: str
) -> Parser:
    """A command in the place of the parent's first argument."""
    parser = Parser(
        prog=f"{parent.prog} {name}",
        description=help,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parent.subcommands[name] = parser
    return parser


def add_device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (default: CUDA where it works), cpu or cuda")


def start_jittor(device: str) -> None:
    """Choose the device, say which, and import Jittor, which takes seconds."""
    from jiidm.system import compiling, memory, runtime

    chosen = runtime.prepare(device)
    compiling.tell_in_one_line()
    print(f"device: {chosen.device}{f' ({chosen.note})' if chosen.note else ''}")
    runtime.use_device(chosen.device)
    memory.end_in_one_line()


def start_jittor_on_cpu() -> None:
    """For commands that only rewrite weights or read configs."""
    from jiidm.system import compiling, memory, runtime

    runtime.prepare("cpu")
    compiling.tell_in_one_line()
    runtime.use_device("cpu")
    memory.end_in_one_line()


def add_config_options(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    shown = f" (default: {default})" if default else ""
    help = f"YAML file, or one of {', '.join(SHIPPED_CONFIGS)}{shown}"
    parser.add_argument("--config", metavar="FILE", default=default, help=help)
    help = "change a setting, e.g. seed=1; repeatable; settings that the command does not use are refused"
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=help)


def read_config(arguments: argparse.Namespace, command: str, unused: Sequence[str]) -> Config:
    """The config of --config and --set. Raises InputError for what is wrong in it, and as `refuse_unused`."""
    from jiidm.config.load import load_config

    refuse_unused(arguments.set, command, unused)
    return load_config(arguments.config, arguments.set)


def require_diffusion(config: Config, command: str) -> None:
    """Raises InputError for the config of a GAN, which has no rounds to change."""
    if config.is_gan:
        raise InputError(f"{config.name} is a {config.method}: jiidm {command} is for the diffusion model only")


def refuse_unused(assignments: Sequence[str], command: str, unused: Sequence[str]) -> None:
    """Raises InputError for a --set of one of the `unused` keys or sections, which would silently do nothing."""
    for assignment in _assigned_to(unused, assignments):
        raise InputError(f"--set {assignment}: jiidm {command} does not use this setting")


def warn_unused(assignments: Sequence[str], option: str, unused: Sequence[str]) -> None:
    """Warn of a --set that does nothing because of another option."""
    for assignment in _assigned_to(unused, assignments):
        logger.warning("--set %s does nothing here, because of %s", assignment, option)


def _assigned_to(names: Sequence[str], assignments: Sequence[str]) -> list[str]:
    """The assignments to a key or section of `names`."""
    keys = {assignment: assignment.partition("=")[0] for assignment in assignments}
    return [given for given, key in keys.items() if any(f"{key}.".startswith(f"{name}.") for name in names)]


def add_seed_option(parser: argparse.ArgumentParser) -> None:
    help = "seed of the noise (default: that of --set, else of --config, else 0)"
    parser.add_argument("--seed", type=int, metavar="N", help=help)


def noise_seed(arguments: argparse.Namespace, config: Config) -> int:
    """--seed, else the seed of --set or --config, else 0: a model file holds the seed of its training."""
    if arguments.seed is not None:
        return arguments.seed
    is_given = arguments.config or any(assignment.partition("=")[0] == "seed" for assignment in arguments.set)
    return config.seed if is_given else 0


def open_model(checkpoint: Path | None, given: Config | None, overrides: Sequence[str]) -> tuple[ModelFile, Config]:
    """The model file, by default the run's that finished last or the shipped one, and the config to run it with.

    Raises InputError for a config of another method, and CheckpointError for a file that is missing or foreign.
    """
    from jiidm.config.load import override
    from jiidm.model.files import ModelFile, find_model

    model = ModelFile(checkpoint or find_model())
    config = override(model.adapted(given) if given else model.config, overrides)
    if config.is_gan and "config" not in model.metadata:
        raise InputError(f"{model.path}: no model of this kit; `jiidm convert --config {config.name}` makes one of it")
    made_as = model.config.method if "config" in model.metadata else "iidm"
    if config.method != made_as:
        raise InputError(f"{model.path}: its method is {made_as}, and not {config.method}")
    return model, config


def make_folder(out: Path) -> None:
    """Raises InputError where an experiment's output folder cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be the output folder ({error.strerror})") from None


def add_dry_run_option(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--dry-run", action="store_true", help=help)


def print_footprint(config: Config) -> None:
    from jiidm.baselines.cost import image_gflop

    if config.is_gan:
        from jiidm.baselines.cost import describe
    else:
        from jiidm.model.footprint import describe
    print(f"{describe(config)}\none image: {image_gflop(config):,.0f} GFLOP")


def add_mask_options(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--masks", type=Path, metavar="DIR", required=required, help="folder of the masks")
    parser.add_argument("--refs", type=Path, metavar="JSON", required=required, help='{"<mask>.png": "<image>.jpg"}')
    add_data_option(parser)


def add_data_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="ROOT", help="training data whose imgs/ holds the references")


def add_shard_option(parser: argparse.ArgumentParser) -> None:
    help = "do part I of N only, I from 1; `slurm` takes it from the task's place in its job array"
    parser.add_argument("--shard", type=_shard, default=WHOLE, metavar="I/N", help=help)


def _shard(text: str) -> Shard:
    try:
        return parse_shard(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_segmenter_options(parser: argparse.ArgumentParser) -> None:
    help = "SegFormer, a file or a Hugging Face folder, of the 29 classes or ADE20K's 150 (default: the one that ships)"
    parser.add_argument("--segmenter", type=Path, metavar="FILE", help=help)
    help = 'JSON of the network\'s class numbers for each of the 29, e.g. {"sky": [2], "tree": [4, 72]}; else "other"'
    parser.add_argument("--segmenter-mapping", type=Path, metavar="FILE", help=help)


def load_segmenter(arguments: argparse.Namespace) -> Any:
    """The `Segmenter` that --segmenter and --segmenter-mapping name. Raises InputError for the second alone."""
    from jiidm.evaluate import segmenter

    if arguments.segmenter_mapping and not arguments.segmenter:
        raise InputError(f"--segmenter-mapping {arguments.segmenter_mapping}: give its --segmenter too")
    return segmenter.load(arguments.segmenter or segmenter.SHIPPED, arguments.segmenter_mapping)


def add_evaluator_options(parser: argparse.ArgumentParser) -> None:
    add_segmenter_options(parser)
    help = "FID's Inception-v3 as pytorch-fid has it (default: fd_seg is measured, which T does not count)"
    parser.add_argument("--inception", type=Path, metavar="FILE", help=help)
    help = "how images reach Inception's size: pytorch-fid (default) or clean, as clean-fid does"
    parser.add_argument("--fid-resize", choices=("pytorch-fid", "clean"), metavar="MODE", help=help)
    add_aesthetic_options(parser)


def add_aesthetic_options(parser: argparse.ArgumentParser) -> None:
    help = "weights for A: a VGG-16 NIMA, or with --clip a head of LAION's aesthetic predictor"
    parser.add_argument("--aesthetic", type=Path, metavar="FILE", help=help)
    help = "CLIP's image tower for LAION's predictor (ViT-L/14), a file or a Hugging Face folder"
    parser.add_argument("--clip", type=Path, metavar="FILE", help=help)


def add_perceptual_option(parser: argparse.ArgumentParser) -> None:
    help = (
        "weights of LPIPS with VGG-16, for the images' diversity: one file, or LPIPS' vgg.pth and torchvision's VGG-16"
    )
    parser.add_argument("--lpips", type=Path, metavar="FILE", nargs="+", help=help)


def load_perceptual(arguments: argparse.Namespace) -> Any:
    """The `lpips.Perceptual` of --lpips, or None."""
    from jiidm.evaluate import lpips

    return lpips.load(arguments.lpips) if arguments.lpips else None


def check_evaluator_options(arguments: argparse.Namespace) -> None:
    """Raises InputError for half of a pair of options."""
    check_image_options(arguments)
    if arguments.fid_resize and not arguments.inception:
        raise InputError(f"--fid-resize {arguments.fid_resize}: give its --inception too")


def check_image_options(arguments: argparse.Namespace) -> None:
    """`check_evaluator_options` for the scores that a single image has."""
    for option, value, needs, given in (
        ("--segmenter-mapping", arguments.segmenter_mapping, "--segmenter", arguments.segmenter),
        ("--clip", arguments.clip, "--aesthetic", arguments.aesthetic),
    ):
        if value and not given:
            raise InputError(f"{option} {value}: give its {needs} too")


def load_evaluators(arguments: argparse.Namespace) -> Any:
    """`score.Evaluators` with the networks that the options name. Raises InputError for half of a pair of options."""
    from jiidm.evaluate.score import Evaluators, load_fd_network

    check_evaluator_options(arguments)
    segmenter = load_segmenter(arguments)
    fd_name, fd_network = load_fd_network(arguments.inception, arguments.fid_resize or "pytorch-fid")
    return Evaluators(segmenter, fd_network, fd_name, load_aesthetic(arguments))


def load_aesthetic(arguments: argparse.Namespace) -> Any:
    """The network that --aesthetic and --clip name, or None."""
    from jiidm.evaluate import laion, nima

    if not arguments.aesthetic:
        return None
    return laion.load(arguments.aesthetic, arguments.clip) if arguments.clip else nima.load(arguments.aesthetic)


def size(text: str) -> Size:
    """The size `WxH`, an argument's type."""
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 512x384")
    return Size(int(height), int(width))
