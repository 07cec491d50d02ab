"""The command line: what can be asked for, and how. What is then done stands in `commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jiidm.cli import commands, commands_ablation, commands_scores, commands_weights, console
from jiidm.errors import InputError, Stopped
from ldm_jittor.errors import CheckpointError

DEFAULT_CONFIG = "demo"
SHIPPED_CONFIGS = ("demo", "demo_paper", "smoke", "iidm", "iidm_released", "iidm_paper")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 2 for bad input, which is told in one line on stderr."""
    arguments = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    try:
        with console.showing_log():
            return arguments.run(arguments) or 0
    except (InputError, CheckpointError) as error:
        return _refuse(error)
    except KeyboardInterrupt as stop:
        print("\ninterrupted; the same command goes on from what is saved", file=sys.stderr)
        return stop.status if isinstance(stop, Stopped) else 130


def _joined(argv: Sequence[str]) -> list[str]:
    """`train segmenter` is one command; a data folder of that name can be given as ./segmenter."""
    return ["train segmenter", *argv[2:]] if list(argv[:2]) == ["train", "segmenter"] else list(argv)


def _refuse(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jiidm", description="Semantic landscape synthesis with IIDM in Jittor.")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_train(subparsers)
    _add_train_segmenter(subparsers)
    _add_infer(subparsers)
    _add_score(subparsers)
    _add_submit(subparsers)
    _add_compare(subparsers)
    _add_ablate(subparsers)
    _add_sweep(subparsers)
    _add_data(subparsers)
    _add_export(subparsers)
    _add_convert(subparsers)
    _add_average(subparsers)
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
A run that was interrupted goes on when the same command is given again.
`jiidm train segmenter` is another command: it trains the network that scores masks.""",
    )
    parser.add_argument("data", nargs="?", type=Path, help="folder with imgs/*.jpg and labels/*.png")
    _add_config_options(parser, DEFAULT_CONFIG)
    parser.add_argument("--run", dest="folder", type=Path, help="folder of this run (default: runs/<config name>)")
    parser.add_argument(
        "--autoencoder",
        type=Path,
        metavar="FILE",
        help="use the autoencoder of this file (a model, a released or PyTorch file, a diffusers folder), train none",
    )
    help = "weights of the FID Inception-v3, to rank checkpoints by (default: fd_seg, without weights)"
    parser.add_argument("--inception", type=Path, metavar="FILE", help=help)
    parser.add_argument("--dry-run", action="store_true", help="build the networks, print their size, stop")
    _add_device_option(parser)


def _add_train_segmenter(subparsers) -> None:
    parser = _command(
        subparsers,
        "train segmenter",
        commands_scores.train_segmenter,
        "Train a SegFormer, which tells by the masks how well images are painted.",
        """examples:
  jiidm train segmenter                        the small one that ships, on generated landscapes
  jiidm train segmenter DATA --config iidm     MiT-B0 at 512x384 on your data
  jiidm train segmenter DATA --set segmenter.variant=b2 --run runs/judge
A run that was interrupted goes on when the same command is given again.""",
    )
    parser.add_argument("data", nargs="?", type=Path, help="folder with imgs/*.jpg and labels/*.png")
    _add_config_options(parser, DEFAULT_CONFIG)
    parser.add_argument(
        "--run", dest="folder", type=Path, help="folder of this run (default: runs/<config name>_segmenter)"
    )
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
    parser.add_argument("--batch-size", type=int, metavar="N", help="images per batch; does not change them")
    parser.add_argument(
        "--fast", action="store_true", help="few steps a round (inference.fast_steps), nearly the same images"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    parser.add_argument("--dry-run", action="store_true", help="check the inputs, print the model's size, stop")
    _add_device_option(parser)


def _add_score(subparsers) -> None:
    parser = _command(
        subparsers,
        "score",
        commands_scores.score,
        "Score an output folder: M, A, FID, S and the total T; saved as OUT/_run/scores.json.",
        """examples:
  jiidm score out/ --masks test_masks/ --refs refs.json                        M and S
  jiidm score out/ --masks test_masks/ --refs refs.json --real train/ \\
    --inception pt_inception-2015-12-05-6726825d.pth --aesthetic nima.pth      all of them
A score whose weights or photos are not given is absent, and so is T without it.""",
    )
    parser.add_argument("out", type=Path, help="folder with one <mask>.jpg for every mask")
    _add_mask_options(parser, required=True)
    parser.add_argument("--real", type=Path, metavar="DIR", help="real photos, or a data folder: the other side of FID")
    _add_evaluator_options(parser)
    _add_device_option(parser)


def _add_evaluator_options(parser: argparse.ArgumentParser) -> None:
    for name, help in (
        ("segmenter", "SegFormer for M, a file or a Hugging Face folder (default: the one that ships)"),
        ("inception", "weights of the FID Inception-v3, as pytorch-fid's; without them fd_seg stands in, not in T"),
        ("aesthetic", "weights of a VGG-16 NIMA, for A"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=help)


def _add_mask_options(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--masks", type=Path, metavar="DIR", required=required, help="folder of the masks")
    parser.add_argument("--refs", type=Path, metavar="JSON", required=required, help='{"<mask>.png": "<image>.jpg"}')
    parser.add_argument("--data", type=Path, metavar="ROOT", help="training data whose imgs/ holds the references")


def _add_submit(subparsers) -> None:
    parser = _command(
        subparsers,
        "submit",
        commands_scores.submit,
        "Check a folder against the list of masks, zip it as OUT.zip, copy the best images to OUT/selects.",
        """The best are those of the highest M (0.2 A + 0.3 (50 + S / 2)) in OUT/_run/scores.json, A left out where
it was not measured; without that file those of the largest file.""",
    )
    parser.add_argument("out", type=Path, help="folder with one <mask>.jpg for every mask")
    parser.add_argument("masks", type=Path, help="folder of the masks, or the references JSON that names them")
    parser.add_argument(
        "--size", type=_size, default=(512, 384), metavar="WxH", help="every image's (default: 512x384)"
    )
    parser.add_argument("--select", type=int, default=3, metavar="N", help="how many images to select (default: 3)")


def _add_compare(subparsers) -> None:
    parser = _command(
        subparsers,
        "compare",
        commands_scores.compare,
        "Tabulate the scores of several output folders and draw their images side by side.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folder that `jiidm score` has scored")
    _add_mask_options(parser, required=False)
    parser.add_argument("--out", type=Path, default=Path("comparison.jpg"), metavar="FILE", help=".jpg or .png")


def _add_ablate(subparsers) -> None:
    parser = _command(
        subparsers,
        "ablate",
        commands_ablation.ablate,
        "Measure what each part of IIDM adds (the paper's Table 2) on the same masks, references and noise.",
        """examples:
  jiidm ablate --config configs/demo.yaml --out ablation           runs/demo if it is finished, else the shipped model
  jiidm ablate --run runs/a --config iidm --data VALIDATION --out ablation --inception W.pth --aesthetic N.pth
Rows: DM, I2I, I2I+RF, I2I+RF+CT by the best checkpoint, I2I+RF+CT+ME by the mean of the two best; two more with
--paper. Images that are there already are kept, so an interrupted call goes on.""",
    )
    models = _add_experiment_options(parser, count=200)
    models.add_argument("--checkpoint", type=Path, metavar="FILE", help="the best single checkpoint, as a model file")
    parser.add_argument("--averaged", type=Path, metavar="FILE", help="with --checkpoint: the mean of the two best")
    parser.add_argument(
        "--paper", type=Path, metavar="FILE", help="model trained with the paper's schedule: two rows more"
    )
    _add_device_option(parser)


def _add_sweep(subparsers) -> None:
    parser = _command(
        subparsers,
        "sweep",
        commands_ablation.sweep,
        "Plot the first round's S, M and Frechet distance against its start timestep.",
    )
    models = _add_experiment_options(parser, count=50)
    models.add_argument("--checkpoint", type=Path, metavar="FILE", help="model file")
    parser.add_argument(
        "--starts",
        nargs="+",
        type=int,
        metavar="T",
        default=list(range(100, 1000, 100)),
        help="0-based timesteps (default: 100 200 ... 900)",
    )
    _add_device_option(parser)


def _add_experiment_options(parser: argparse.ArgumentParser, count: int) -> argparse._MutuallyExclusiveGroup:
    """What ablate and sweep share; returns the group of options that name the model."""
    _add_config_options(parser, DEFAULT_CONFIG)
    models = parser.add_mutually_exclusive_group()
    help = "training run (default: runs/<config name> if finished, else the shipped model)"
    models.add_argument("--run", dest="run_folder", type=Path, metavar="RUN", help=help)
    help = "folder of pairs never trained on (default: the run's validation pairs, or landscapes generated afresh)"
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=help)
    parser.add_argument("--count", type=int, default=count, metavar="N", help=f"masks to paint (default: {count})")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for images, tables and pictures")
    parser.add_argument("--real", type=Path, metavar="DIR", help="real photos (default: those of the masks painted)")
    _add_evaluator_options(parser)
    return models


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
    parser.add_argument("source", type=Path, help="model.safetensors or segmenter.safetensors of a run")
    parser.add_argument("target", type=Path, help="the file to write")


def _add_convert(subparsers) -> None:
    parser = _command(
        subparsers,
        "convert",
        commands_weights.convert,
        "Make a file of this kit from released, PyTorch or diffusers weights, or take a network out of one.",
        """examples:
  jiidm convert unet_average.pkl vq.pkl model.safetensors        the released weights -> infer --checkpoint
  jiidm convert vq-f4.ckpt autoencoder.safetensors               of latent-diffusion -> train --autoencoder
  jiidm convert model.safetensors unet.safetensors --only unet   -> PyTorch's SDM, whose names it has
A source is a .pkl of Jittor, a .pt, .pth or .ckpt of PyTorch, a diffusers folder or a .safetensors; its layout is
recognised by its names, and no code in it is run. Every name and shape has to be that of the config: the one given,
else the one a source holds, else iidm.""",
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="SRC", help="file or diffusers folder")
    parser.add_argument("target", type=Path, metavar="DST", help="the .safetensors file to write")
    parser.add_argument("--only", choices=("autoencoder", "unet"), help="write this network alone, under bare names")
    _add_config_options(parser)


def _add_average(subparsers) -> None:
    parser = _command(
        subparsers,
        "average",
        commands_weights.average,
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
    parser.add_argument(
        "--weights",
        nargs="+",
        type=float,
        metavar="W",
        help="one per checkpoint; their sum is made one (default: equal)",
    )


def _add_schedule(subparsers) -> None:
    parser = _command(
        subparsers,
        "schedule",
        commands.schedule,
        "Print what each round of a config starts from (timestep, sqrt(abar)) and costs (network passes).",
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
