"""`jiidm infer`."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jiidm.cli import candidates, options
from jiidm.errors import InputError

if TYPE_CHECKING:
    from jiidm.config.schema import Config
    from jiidm.inference.infer import Generates
    from jiidm.model.files import ModelFile

_FIXED_BY_FAST = re.compile(r"inference\.rounds\.\d+\.(sampler|spacing)=")


def add_infer(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "infer",
        _infer,
        "Generate images from masks, in the style of reference photos, and write a submission folder.",
        """examples:
  jiidm infer                                  generated masks and references -> out/
  jiidm infer test_masks/ refs.json out/       one OUT/<mask>.jpg for every mask
  jiidm infer test_masks/ refs.json out/ --data train/ --checkpoint runs/a/model.safetensors
  jiidm infer test_masks/ refs.json out/ --shard 2/8       the second of eight parts; all may run at once
  jiidm infer test_masks/ refs.json out/ --candidates 4    four seeds a mask; the image with the best M and S is kept
Images that are there already are kept, so an interrupted call goes on. OUT/_run has the contact sheet.
OUT/_run/candidates lists the candidates' seeds and scores. `jiidm score --segmenter` has to name another segmenter than
the one that chose.""",
    )
    parser.add_argument("masks", nargs="?", type=Path, help="folder of 8-bit label PNGs, classes 0-28")
    parser.add_argument("references", nargs="?", type=Path, help='JSON {"<mask>.png": "<image>.jpg"}')
    parser.add_argument("out", nargs="?", type=Path, help="output folder (default: out)")
    add_generation_options(parser)
    candidates.add_options(parser)
    options.add_shard_option(parser)
    options.add_dry_run_option(parser, "check the inputs, print the model's size and stop")
    options.add_device_option(parser)


def add_generation_options(parser: argparse.ArgumentParser) -> None:
    """What decides the images, and how they are made: `leaderboard` has these too."""
    help = "model (default: last finished run, else shipped)"
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help=help)
    options.add_config_options(parser)
    options.add_data_option(parser)
    help = "images per batch (inference.batch_size); the images stay the same"
    parser.add_argument("--batch-size", type=int, metavar="N", help=help)
    help = "few steps a round (inference.fast_steps) for nearly the same images"
    parser.add_argument("--fast", action="store_true", help=help)
    help = "also draw the paper's Figures 3, 4 and 7 of the first masks into OUT/_run, by generating them again"
    parser.add_argument("--figures", action="store_true", help=help)
    options.add_seed_option(parser)


def _infer(arguments: argparse.Namespace) -> None:
    candidates.check(arguments)
    run_infer(arguments)


def run_infer(arguments: argparse.Namespace) -> None:
    """Generate what is missing. `leaderboard` calls this too."""
    from jiidm.config.load import load_config
    from jiidm.data.identity import made_by, sha256
    from jiidm.inference.folder import OutputFolder
    from jiidm.inference.infer import generate_images
    from jiidm.inference.inputs import check_inputs, with_reference_masks, write_demo_inputs

    if (arguments.masks is None) != (arguments.out is None):
        raise InputError("give MASKS, REFS.json and OUT, or none of them")
    if arguments.data and not arguments.masks:
        raise InputError(f"--data {arguments.data}: goes with MASKS, REFS.json and OUT")
    if arguments.shard.count > 1 and not arguments.masks:
        raise InputError("--shard: goes with MASKS, REFS.json and OUT")
    if arguments.figures and arguments.shard.count > 1:
        raise InputError("--figures: goes without --shard; give the same command once more without it")
    options.refuse_unused(arguments.set, "infer", options.TRAINING_ONLY)
    if not arguments.fast:
        options.refuse_unused(arguments.set, "infer without --fast", ("inference.fast_steps",))
    folder = OutputFolder(arguments.out or "out")
    # inputs are checked before Jittor is loaded
    given = load_config(arguments.config) if arguments.config else None
    jobs = check_inputs(arguments.masks, arguments.references, arguments.data) if arguments.masks else []
    options.start_jittor(arguments.device)
    model, config = _choose_model(arguments, given)
    if arguments.candidates > 1 and not config.draws_noise:
        reason = f"{config.name} is a {config.method}, whose images are the same for every seed"
        advice = "; --set gan.sample_style=true draws its styles" if config.has_vae else ""
        raise InputError(f"--candidates {arguments.candidates}: {reason}{advice}")
    if arguments.figures and config.is_gan:
        raise InputError(f"--figures: {config.name} is a {config.method}, which has no rounds to show")
    if arguments.dry_run:
        options.print_footprint(config)
        return
    chooser = candidates.load_chooser(arguments)
    demo = not jobs
    if demo:
        folder.prepare()
        jobs = check_inputs(*write_demo_inputs(folder.run_folder, config.data.size), None)
    identity = made_by(model.sha256, config, config.seed, candidates=candidates.record(arguments, chooser))
    if config.uses_reference_masks:
        from jiidm.evaluate import segmenter

        jobs = with_reference_masks(jobs, sha256(segmenter.SHIPPED))
    # the demo has to show the model that is there now, so its earlier images may go
    folder.claim(identity, jobs, remake=demo)

    load_pipeline, more = _method_of(model, config)
    if chooser:
        load_pipeline = candidates.among(load_pipeline, arguments.candidates, chooser, folder, jobs)
    generate_images(folder, jobs, load_pipeline, model.path, identity, seed=config.seed, shard=arguments.shard, **more)
    if arguments.figures:
        from jiidm.inference.figures import draw_figures
        from jiidm.pipeline import Pipeline

        pipeline = load_pipeline()
        assert isinstance(pipeline, Pipeline), "GANs were refused"
        figures = draw_figures(folder, jobs, pipeline, seed=config.seed, **more)
        print(*(f"figure: {path}" for path in figures), sep="\n")


def _method_of(model: ModelFile, config: Config) -> tuple[Callable[[], Generates], dict[str, Any]]:
    """How to load the pipeline of the config's method, and what its `stream` takes besides."""
    if config.is_gan:
        from jiidm.baselines.model import load_gan
        from jiidm.baselines.pipeline import GANPipeline

        return lambda: GANPipeline(load_gan(model, config)), {}
    from jiidm.evaluate import segmenter
    from jiidm.experiments.released import hooks_for
    from jiidm.pipeline import Pipeline

    return lambda: Pipeline(model.load(config), segmenter.load), {"hooks": hooks_for(config)}


def _choose_model(arguments: argparse.Namespace, given: Config | None) -> tuple[ModelFile, Config]:
    """The model file, and the config to run it with, whose seed is the noise's. It says which."""
    from jiidm.config.load import fast

    overrides = list(arguments.set)
    if arguments.batch_size is not None:
        overrides.append(f"inference.batch_size={arguments.batch_size}")
    model, config = options.open_model(arguments.checkpoint, given, overrides)
    config = dataclasses.replace(config, seed=options.noise_seed(arguments, config))
    if arguments.fast:
        for assignment in arguments.set:
            if _FIXED_BY_FAST.match(assignment):
                raise InputError(
                    f"--set {assignment}: --fast samples by dpmpp_2m, even in log-SNR; give one of the two"
                )
        config = fast(config)
    print(f"model: {model.path} ({config.name}, {config.data.size})")
    return model, config
