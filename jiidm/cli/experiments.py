"""The commands that measure the method: `jiidm ablate`, `sweep` and `schedule`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jiidm.cli import options, report
from jiidm.errors import InputError
from ldm_jittor.files import atomic_path

if TYPE_CHECKING:
    from jiidm.config.schema import Config

UNUSED = (*options.TRAINING_ONLY, "autoencoder", "inference.fast_steps")
"""The models bring their own autoencoders."""


def add_ablate(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "ablate",
        _ablate,
        "Measure what each part of IIDM adds (the paper's Table 2) on the same masks, references and noise.",
        """examples:
  jiidm ablate --config configs/demo.yaml --out ablation           runs/demo if it is finished, else the shipped model
  jiidm ablate --run runs/a --config iidm --data VALIDATION --out ablation --inception W.pth --aesthetic N.pth
Rows: DM, I2I, I2I+RF and I2I+RF+CT by the best checkpoint, I2I+RF+CT+ME by the mean of the two best, and two more
with --paper. Images that are there already are kept, so an interrupted call goes on.""",
    )
    models = _add_shared_options(parser, count=200)
    models.add_argument("--checkpoint", type=Path, metavar="FILE", help="the best single checkpoint, as a model file")
    parser.add_argument("--averaged", type=Path, metavar="FILE", help="with --checkpoint: the mean of the two best")
    help = "model trained with the paper's schedule; it adds two rows"
    parser.add_argument("--paper", type=Path, metavar="FILE", help=help)
    options.add_device_option(parser)


def _ablate(arguments: argparse.Namespace) -> None:
    if arguments.averaged and not arguments.checkpoint:
        raise InputError(f"--averaged {arguments.averaged}: goes with --checkpoint; --run finds both by itself")
    config, out = options.read_config(arguments, "ablate", UNUSED), arguments.out
    options.require_diffusion(config, "ablate")
    seed = options.noise_seed(arguments, config)
    options.make_folder(out)
    options.start_jittor(arguments.device)
    from jiidm.experiments import ablation
    from jiidm.experiments import trials as experiment
    from jiidm.experiments.report import write_report

    single, averaged, notes = _ablated_models(arguments, config)
    painted = ablation.trials(config, single, averaged, arguments.paper)
    jobs, evaluators, real, caveats = _bench(arguments, config, single)
    experiment.generate(painted, jobs, out, seed)
    names = [trial.name for trial in painted]
    if arguments.paper:
        ablation.recolor(painted[-1], jobs, out, ablation.PAPER_CT, seed)
        names.append(ablation.PAPER_CT)
    results = [experiment.score_trial(name, jobs, out, evaluators, real) for name in names]
    text = ablation.describe(results, notes + caveats)
    _save(out, "ablation", ablation.as_json(results, painted, seed), text)
    print(f"{text}\n\nside by side: {ablation.picture(results, jobs, out)}")
    report.tell(write_report(out))


def add_sweep(commands: Any) -> None:
    parser = options.add_command(
        commands, "sweep", _sweep, "Plot the first round's S, M and Frechet distance against its start timestep."
    )
    models = _add_shared_options(parser, count=50)
    models.add_argument("--checkpoint", type=Path, metavar="FILE", help="model file")
    starts, help = list(range(100, 1000, 100)), "0-based timesteps (default: 100 200 ... 900)"
    parser.add_argument("--starts", nargs="+", type=int, metavar="T", default=starts, help=help)
    options.add_device_option(parser)


def _sweep(arguments: argparse.Namespace) -> None:
    config, out = options.read_config(arguments, "sweep", UNUSED), arguments.out
    options.require_diffusion(config, "sweep")
    options.make_folder(out)
    options.start_jittor(arguments.device)
    from jiidm.experiments import sweep
    from jiidm.experiments import trials as experiment
    from jiidm.experiments.report import write_report
    from jiidm.model import files as model

    run = _run(arguments, config)
    path = run / model.MODEL_FILE if run else arguments.checkpoint or model.SHIPPED
    trials = sweep.trials(config, path, arguments.starts)
    jobs, evaluators, real, caveats = _bench(arguments, config, path)
    experiment.generate(list(trials.values()), jobs, out, options.noise_seed(arguments, config))
    results = {start: experiment.score_trial(t.name, jobs, out, evaluators, real) for start, t in trials.items()}
    points, chosen = sweep.points(config, results), config.inference.rounds[0].start_timestep
    text = sweep.describe(points, evaluators.fd_name, chosen, caveats)
    _save(out, "sweep", sweep.as_json(points, config, chosen), text)
    sweep.plot(points, evaluators.fd_name, chosen, out / "sweep.png")
    print(f"{text}\n\nplot: {out / 'sweep.png'}")
    report.tell(write_report(out))


def add_schedule(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "schedule",
        _schedule,
        "Print what each round of a config starts from (timestep, sqrt(abar)) and costs (network passes).",
    )
    shipped = list(options.DIFFUSION_CONFIGS)
    parser.add_argument(
        "configs", nargs="*", default=shipped, help="default: every shipped config of the diffusion model"
    )


def _schedule(arguments: argparse.Namespace) -> None:
    options.start_jittor_on_cpu()
    from jiidm.experiments.starts import describe_starts

    print(describe_starts(arguments.configs))


def _add_shared_options(parser: options.Parser, count: int) -> argparse._MutuallyExclusiveGroup:
    """What ablate and sweep share; returns the group of options that name the model."""
    options.add_config_options(parser, options.DEFAULT_CONFIG)
    models = parser.add_mutually_exclusive_group()
    help = "training run (default: runs/<config name> if finished, else the shipped model)"
    models.add_argument("--run", dest="run_folder", type=Path, metavar="RUN", help=help)
    help = "folder of pairs never trained on (default: the run's validation pairs, or landscapes generated afresh)"
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=help)
    parser.add_argument("--count", type=int, default=count, metavar="N", help=f"how many masks (default: {count})")
    options.add_seed_option(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for images, tables and pictures")
    parser.add_argument("--real", type=Path, metavar="DIR", help="real photos (default: those of the masks)")
    options.add_evaluator_options(parser)
    return models


def _run(arguments: argparse.Namespace, config: Config) -> Path | None:
    """The training run to measure: the one given, else, where no checkpoint is given, the config's own if finished."""
    from jiidm.model.files import MODEL_FILE, RUNS

    own = RUNS / config.name
    if arguments.run_folder or arguments.checkpoint:
        return arguments.run_folder
    return own if (own / MODEL_FILE).exists() else None


def _ablated_models(arguments: argparse.Namespace, config: Config) -> tuple[Path, Path | None, list[str]]:
    """The best single checkpoint; the mean of the two best, where there is one; and notes on them."""
    from jiidm.experiments import ablation
    from jiidm.model import files as model

    run = _run(arguments, config)
    if run:
        single, averaged = ablation.best_checkpoints(run)
    else:
        single, averaged = arguments.checkpoint or model.SHIPPED, arguments.averaged
    mean = f"{ablation.ME}: {averaged}" if averaged else f"no mean of two checkpoints, so no row {ablation.ME}"
    notes = [f"Model: {single}; {mean}."]
    print(*notes, sep="\n")
    return single, averaged, notes


def _bench(arguments: argparse.Namespace, config: Config, path: Path) -> tuple[Any, Any, Path, list[str]]:
    """The jobs, the evaluators, the folder of real photos, and caveats.

    The photos' features are computed here, so that faults in them are found before any sampling.
    """
    from jiidm.data.images import read_size
    from jiidm.data.pairs import find_pairs
    from jiidm.evaluate import statistics
    from jiidm.experiments import held_out
    from ldm_jittor import checkpoint

    run = _run(arguments, config)
    pairs, caveats = None, []
    if arguments.data:
        pairs = find_pairs(arguments.data)
    else:
        pairs = held_out.run_pairs(run, checkpoint.load_metadata(path).get("provenance", {})) if run else None
        caveats = [] if pairs is None else [held_out.SELECTED]
    jobs = held_out.lay_out(arguments.out, arguments.count, config.data.size, pairs)
    if len(jobs) < arguments.count:
        print(f"{len(jobs)} masks: there are no more")
    real = arguments.real or arguments.out / held_out.FOLDER
    evaluators = options.load_evaluators(arguments)
    statistics.photo_statistics(statistics.find_photos(real), read_size(jobs[0].mask), evaluators.fd_network)
    return jobs, evaluators, real, caveats


def _save(out: Path, stem: str, content: dict, text: str) -> None:
    """Write the findings as `out`/<stem>.json, for programs, and as `out`/<stem>.md, for people."""
    for suffix, written in ((".json", json.dumps(content, indent=1, ensure_ascii=False)), (".md", text)):
        with atomic_path(out / f"{stem}{suffix}") as temporary:
            temporary.write_text(f"{written}\n", encoding="utf-8")
