"""`jiidm table1`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from jiidm.cli import options, report
from jiidm.errors import InputError
from ldm_jittor.files import atomic_path

OUT = "table1"


def add_table1(commands: Any) -> None:
    parser = options.add_command(
        commands,
        "table1",
        _table1,
        "Compare methods as the paper's Table 1 does: the same masks and references, the same networks score.",
        """examples:
  jiidm table1                                     the embedded table, from the stored scores of its images
  jiidm table1 --out table1                        paint and score the embedded table again, by the models that ship
  jiidm table1 DATA                                every finished run in runs/
  jiidm table1 DATA runs/gaugan runs/iidm/model.safetensors --inception W.pth --aesthetic N.pth
  jiidm table1 runs/a runs/b --out table1          on landscapes generated afresh
A first argument with imgs/ and labels/ is DATA. Pairs that a model was trained on are left out. OUT gets every method's
images, table1.md, .json, .csv and .png, and the paper's Figures 5 and 6. Images that are there already are kept, so an
interrupted call goes on. The network that scores must not have taken part in a method's training.""",
    )
    parser.add_argument("data", nargs="?", type=Path, help="folder with imgs/*.jpg and labels/*.png")
    parser.add_argument("models", nargs="*", type=Path, help="model files or run folders (default: all in runs/)")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="how many masks (default: 200)")
    options.add_seed_option(parser)
    parser.add_argument("--out", type=Path, metavar="OUT", help=f"folder for images and tables (default: {OUT})")
    parser.add_argument("--real", type=Path, metavar="DIR", help="real photos (default: those of the masks)")
    options.add_evaluator_options(parser)
    options.add_device_option(parser)


def _table1(arguments: argparse.Namespace) -> None:
    data, given = _data_and_models(arguments)
    if not (data or given or arguments.out):
        options.start_jittor_on_cpu()
        _print_stored()
        return
    options.check_evaluator_options(arguments)
    out = arguments.out or Path(OUT)
    options.make_folder(out)
    options.start_jittor(arguments.device)
    from jiidm.data.images import read_size
    from jiidm.evaluate import statistics
    from jiidm.experiments import held_out, table1, table1_report
    from jiidm.experiments.impartial import refuse_partial
    from jiidm.experiments.report import write_report

    models = table1.find_models(given) if data or given else table1.shipped_models()
    trials = table1.trials(models)
    evaluators = _evaluators(arguments, table1.default_judge())
    refuse_partial(models, evaluators)
    pairs = table1.held_out_pairs(data, models) if data else None
    jobs = held_out.lay_out(out, arguments.count, models[0].config.data.size, pairs)
    real = arguments.real or out / held_out.FOLDER
    statistics.photo_statistics(statistics.find_photos(real), read_size(jobs[0].mask), evaluators.fd_network)
    seed = arguments.seed or 0
    rows = table1.rows(trials, jobs, out, seed, evaluators, real)
    notes = [f"Masks: {f'{len(jobs)} pairs of {data}' if data else 'landscapes that no model was trained on'}."]
    text = table1_report.describe(rows, notes)
    _write(out / "table1.json", json.dumps(table1.as_json(rows, seed, notes), indent=1, ensure_ascii=False))
    _write(out / "table1.csv", table1_report.as_csv(rows).rstrip())
    _write(out / "table1.md", text)
    table1_report.plot(rows, out / "table1.png")
    figures = [table1_report.figure_5(rows, jobs, out), table1_report.figure_6(rows, jobs, out)]
    print(f"{text}\n\nside by side: {figures[0]}\nclose-ups: {figures[1]}\nplot: {out / 'table1.png'}")
    report.tell(write_report(out))


def _data_and_models(arguments: argparse.Namespace) -> tuple[Path | None, list[Path]]:
    """The first argument is a data folder, or else a model like those behind it."""
    from jiidm.data.pairs import IMAGE_FOLDER, LABEL_FOLDER

    first, others = arguments.data, arguments.models
    if first is None or any((first / name).is_dir() for name in (IMAGE_FOLDER, LABEL_FOLDER)):
        return first, others
    if not first.exists():
        raise InputError(f"{first}: no such data folder, run folder or model file")
    return None, [first, *others]


def _evaluators(arguments: argparse.Namespace, judge: Path) -> Any:
    """As `options.load_evaluators`, but `judge` scores by default, and gives the features of the Frechet distance."""
    if arguments.segmenter is None:
        arguments.segmenter = judge
    evaluators = options.load_evaluators(arguments)
    return evaluators if arguments.inception else dataclasses.replace(evaluators, fd_network=evaluators.segmenter)


def _print_stored() -> None:
    from jiidm.experiments import table1, table1_report

    rows, notes = table1.read(table1.STORED)
    print(table1_report.describe(rows, notes))


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")
