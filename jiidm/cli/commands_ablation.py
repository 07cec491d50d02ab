"""What the commands that measure the method do: ablate, sweep."""

from __future__ import annotations

import json
from pathlib import Path

from jiidm.cli.commands import start_jittor
from jiidm.cli.commands_scores import load_evaluators
from jiidm.errors import InputError
from ldm_jittor.files import atomic_path


def ablate(arguments) -> int:
    from jiidm.config import load as configs

    if arguments.averaged and not arguments.checkpoint:
        raise InputError(f"--averaged {arguments.averaged}: goes with --checkpoint; --run finds both by itself")
    config, out = configs.load_config(arguments.config, arguments.set), arguments.out
    _prepare(out)
    start_jittor(arguments.device)
    from jiidm.experiments import ablation
    from jiidm.experiments import trials as experiment

    single, averaged, notes = _ablated_models(arguments, config)
    painted = ablation.trials(config, single, averaged, arguments.paper)
    jobs, evaluators, real, caveats = _bench(arguments, config, single)
    experiment.paint(painted, jobs, out, arguments.seed)
    names = [trial.name for trial in painted]
    if arguments.paper:
        ablation.recolor(painted[-1], jobs, out, ablation.PAPER_CT, arguments.seed)
        names.append(ablation.PAPER_CT)
    results = [experiment.score_trial(name, jobs, out, evaluators, real) for name in names]
    text = ablation.describe(results, notes + caveats)
    _save(out, "ablation", ablation.as_json(results, painted, arguments.seed), text)
    print(f"{text}\n\nside by side: {ablation.picture(results, jobs, out)}")
    return 0


def sweep(arguments) -> int:
    from jiidm.config import load as configs

    config, out = configs.load_config(arguments.config, arguments.set), arguments.out
    _prepare(out)
    start_jittor(arguments.device)
    from jiidm.experiments import sweep
    from jiidm.experiments import trials as experiment
    from jiidm.model import files as model

    run = _run(arguments, config)
    path = run / model.MODEL_FILE if run else arguments.checkpoint or model.SHIPPED
    trials = sweep.trials(config, path, arguments.starts)
    jobs, evaluators, real, caveats = _bench(arguments, config, path)
    experiment.paint(list(trials.values()), jobs, out, arguments.seed)
    results = {start: experiment.score_trial(t.name, jobs, out, evaluators, real) for start, t in trials.items()}
    points, chosen = sweep.points(config, results), config.inference.rounds[0].start_timestep
    text = sweep.describe(points, evaluators.distance_name, chosen, caveats)
    _save(out, "sweep", sweep.as_json(points, config, chosen), text)
    sweep.plot(points, evaluators.distance_name, chosen, out / "sweep.png")
    print(f"{text}\n\nplot: {out / 'sweep.png'}")
    return 0


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be the output folder ({error.strerror})") from None


def _run(arguments, config) -> Path | None:
    """The training run to measure: the one given, else, where no checkpoint is given, the config's own if finished."""
    from jiidm.model.files import MODEL_FILE, RUNS

    own = RUNS / config.name
    if arguments.run_folder or arguments.checkpoint:
        return arguments.run_folder
    return own if (own / MODEL_FILE).exists() else None


def _ablated_models(arguments, config) -> tuple[Path, Path | None, list[str]]:
    """The best single checkpoint and, where there is one, the mean of the two best; what to say of them."""
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


def _bench(arguments, config, path: Path):
    """The jobs, the evaluators, the folder of real photos, and what to say of them. The photos' features are computed
    here: what is wrong with them is found before any sampling."""
    from jiidm.data.images import read_size
    from jiidm.data.pairs import find_pairs
    from jiidm.evaluate import statistics as real_photos
    from jiidm.experiments import held_out
    from ldm_jittor import checkpoint

    run = _run(arguments, config)
    if arguments.data:
        pairs, caveats = find_pairs(arguments.data), []
    else:
        pairs = held_out.run_pairs(run, checkpoint.load_metadata(path).get("provenance", {})) if run else None
        caveats = [] if pairs is None else [held_out.SELECTED]
    jobs = held_out.lay_out(arguments.out, arguments.count, config.data.size, pairs)
    if len(jobs) < arguments.count:
        print(f"{len(jobs)} masks, for there are no more")
    real = arguments.real or arguments.out / held_out.FOLDER
    evaluators = load_evaluators(arguments)
    real_photos.statistics(real_photos.find_photos(real), read_size(jobs[0].mask), evaluators.distance)
    return jobs, evaluators, real, caveats


def _save(out: Path, stem: str, content: dict, text: str) -> None:
    """Write what was found as `out`/<stem>.json, for programs, and as `out`/<stem>.md, for people."""
    for suffix, written in ((".json", json.dumps(content, indent=1, ensure_ascii=False)), (".md", text)):
        with atomic_path(out / f"{stem}{suffix}") as temporary:
            temporary.write_text(f"{written}\n", encoding="utf-8")
