"""The paper's Table 2 on your own model: what each part of IIDM adds, with the same masks, references and noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from jiidm.color import color_transfer
from jiidm.config.load import with_rounds
from jiidm.config.schema import Config, ReleasedConfig
from jiidm.data.images import load_image
from jiidm.errors import InputError
from jiidm.evaluate import bootstrap
from jiidm.experiments import compare
from jiidm.experiments.trials import Result, Trial, configure, identity_of
from jiidm.inference import scorecard
from jiidm.inference.folder import OutputFolder
from jiidm.inference.inputs import Job
from jiidm.model.files import MODEL_FILE, ModelFile
from jiidm.report.tables import table
from jiidm.train.checkpoints import ranked
from ldm_jittor.checkpoint import load_metadata

DM, I2I, RF, CT, ME = "DM", "I2I", "I2I+RF", "I2I+RF+CT", "I2I+RF+CT+ME"
PAPER, PAPER_CT = "paper", "paper+CT"
DM_SETTINGS: dict[str, Any] = {"clip_x0": 2.0, "dynamic_thresholding_ratio": 0.9}
"""The settings of DM's round that `benchmarks/quality/bounds.py` chose on masks that no table shows."""
LEAST_ACCURACY = 85.0
PAPER_START = 319
"""The paper's T = 320, 0-based."""
ROWS = {
    DM: "no reference: one chain from pure noise under the mask, predicted latents bounded",
    I2I: "the first round",
    RF: "all rounds, no colour transfer",
    CT: "all rounds, colour transfer where the config has it",
    ME: "the same with the mean of the two best checkpoints",
    PAPER: "trained as long and sampled with beta_t = 0.001 t, one round from T = 320, timestep 319",
    PAPER_CT: "the same images, colour transfer at the end",
}
PAPER_TABLE_2 = {  # M, A, FID, S, T as printed
    DM: (91.01, 49.12, 35.41, 27.90, 55.79),
    I2I: (93.76, 49.61, 32.98, 62.68, 63.60),
    RF: (94.57, 50.43, 30.63, 49.24, 63.51),
    CT: (94.11, 49.78, 31.38, 66.03, 65.09),
    ME: (94.15, 50.43, 30.75, 63.76, 65.27),
}


def trials(given: Config, single: Path, averaged: Path | None, paper: Path | None) -> list[Trial]:
    """The rows that sampling makes. `PAPER_CT` follows from `PAPER` by `recolor`.

    given: the config whose rounds are taken apart. single: the best checkpoint as a model, for the first four rows.
    averaged: the mean of the two best. paper: a model of the paper's schedule, which samples by the round it was saved
    with.
    Raises InputError for fewer than two rounds, and where the models do not fit.
    """
    best = ModelFile(single)
    config = configure(best, given)
    rounds = config.inference.rounds
    if len(rounds) < 2:
        raise InputError(f"{given.name}: inference.rounds has one round, so there is no refinement to measure")
    plain = [dataclasses.replace(round_, color_transfer=False) for round_ in rounds]
    found = [
        Trial(DM, best, diffusion_alone(config), from_noise=True),
        Trial(I2I, best, with_rounds(config, plain[:1], I2I)),
        Trial(RF, best, with_rounds(config, plain, RF)),
        Trial(CT, best, config),
    ]
    if averaged:
        mean = ModelFile(averaged)
        found.append(Trial(ME, mean, configure(mean, given)))
    if paper:
        other = ModelFile(paper)
        found.append(Trial(PAPER, other, _paper_config(other, config)))
    return found


def diffusion_alone(config: Config) -> Config:
    """The config of the row DM: the first round's sampler and steps, from the schedule's last timestep.

    Its trial starts `from_noise`. Predicted latents are bounded, as the noisiest steps need.
    No network can predict noise where abar is 0. A schedule that ends there starts at the round's own start.
    """
    first = config.inference.rounds[0]
    start = first.start_timestep if config.schedule.ends_in_noise else config.schedule.num_timesteps - 1
    alone = dataclasses.replace(first, start_timestep=start, color_transfer=False, **DM_SETTINGS)
    return with_rounds(config, [alone], DM)


def _paper_config(model: ModelFile, config: Config) -> Config:
    """The model's own round; colours are transferred and images written as in the other rows."""
    model.require_diffusion()
    path, stored = model.path, model.config
    if stored.schedule.kind != "paper":
        raise InputError(f"{path}: schedule.kind is {stored.schedule.kind}, expected paper")
    for key, mine, theirs in (
        ("data.size", stored.data.size, config.data.size),
        ("autoencoder", stored.autoencoder, config.autoencoder),
        ("unet", stored.unet, config.unet),
        ("diffusion_training.max_steps", stored.diffusion_training.max_steps, config.diffusion_training.max_steps),
    ):
        if mine != theirs:
            raise InputError(f"{path}: a model of another {key} than the others, so more than the schedule differs")
    rounds = stored.inference.rounds
    if [(round_.start_timestep, round_.color_transfer) for round_ in rounds] != [(PAPER_START, False)]:
        raise InputError(f"{path}: inference.rounds is not the paper's one round from timestep {PAPER_START}")
    inference = dataclasses.replace(config.inference, rounds=rounds)
    return dataclasses.replace(stored, inference=inference, released=ReleasedConfig())


def best_checkpoints(run: Path) -> tuple[Path, Path | None]:
    """The checkpoint of a finished run with the smallest Frechet distance, and the run's model, the mean of the two
    best.

    A run that took fewer than two distances has the model alone.

    Raises InputError as `ranked` does, where the checkpoint is gone, and where the model is another mean, as after the
    run went on; CheckpointError where it is missing.
    """
    complete, best = run / MODEL_FILE, ranked(run)[:2]
    if len(best) < 2:
        return complete, None
    if not best[0].path.is_file():
        raise InputError(f"{best[0].path}: no such checkpoint, but {run} ranks it first")
    averaged = load_metadata(complete).get("provenance", {}).get("average_of", [])
    if {part.get("step") for part in averaged} != {entry.step for entry in best}:
        told = f"{complete}: not the mean of the run's two best checkpoints; `jiidm average --best 2 {run} --out FILE`"
        raise InputError(f"{told} makes that, for --checkpoint {best[0].path} --averaged FILE")
    return best[0].path, complete


def recolor(trial: Trial, jobs: Sequence[Job], out: Path, name: str, seed: int) -> None:
    """Give a trial's finished images their references' colours: `out`/<trial> -> `out`/`name`, only the missing ones.

    It works on the files, as the released code does, so the chain need not be sampled again.
    """
    identity = identity_of(trial, seed) | {"final_color_transfer": True}
    painted, folder = OutputFolder(out / trial.name), OutputFolder(out / name)
    folder.claim(identity, jobs)
    folder.write_manifest(identity, jobs, trial.model.path, trial.config)
    for job in tqdm(folder.pending(jobs), desc=name, unit="image"):
        image = load_image(painted.image(job.stem))
        reference = load_image(job.reference, job.size)
        recolored = color_transfer(image, reference, trial.config.inference.color_space)
        folder.write(job.stem, recolored, trial.config.inference.jpeg_quality)


class Expectation(NamedTuple):
    """An ordering of Table 2, and by how much it holds."""

    text: str
    holds: bool
    margin: float
    """The amount by which the expected side exceeds the other."""
    interval: tuple[float, float]

    @property
    def verdict(self) -> str:
        held = "holds" if self.holds else "does not hold"
        doubt = ", though the interval contains 0" if self.interval[0] <= 0 <= self.interval[1] else ""
        return f"{self.text}: {held} (by {bootstrap.signed(self.margin, self.interval)}{doubt})"


def expectations(results: Sequence[Result]) -> list[Expectation]:
    """How each part moves S and M in the paper, and M of every I2I row >= 85; differences are paired by image."""
    by_name = {result.name: result for result in results}
    found = []
    for score, text, larger, smaller in (
        ("S", f"S({I2I}) > S({DM})", I2I, DM),
        ("S", f"S({RF}) < S({I2I})", I2I, RF),
        ("S", f"S({CT}) > S({RF})", CT, RF),
        ("M", f"M({I2I}) > M({DM})", I2I, DM),
        ("M", f"M({RF}) > M({I2I})", RF, I2I),
        ("M", f"M({CT}) < M({RF})", RF, CT),
    ):
        a, b = by_name[larger], by_name[smaller]
        margin, draws = a.scores[score] - b.scores[score], a.draws[score] - b.draws[score]
        found.append(Expectation(text, margin > 0, margin, bootstrap.interval(margin, draws)))
    for name in (I2I, RF, CT, ME):
        if name in by_name:
            margin = by_name[name].scores["M"] - LEAST_ACCURACY
            draws = by_name[name].draws["M"] - LEAST_ACCURACY
            text = f"M({name}) >= {LEAST_ACCURACY:g}"
            found.append(Expectation(text, margin >= 0, margin, bootstrap.interval(margin, draws)))
    return found


def describe(results: Sequence[Result], notes: Sequence[str]) -> str:
    """Table 2 of these results, the orderings that hold, and the paper's own table, as Markdown, after the `notes`."""
    columns = [c for c in scorecard.COLUMNS if any(c in result.scores for result in results)]
    rows = [[result.name, *(result.cell(column) for column in columns), ROWS[result.name]] for result in results]
    count = results[0].card["outputs"]["count"]
    printed = [[name, *(f"{value:.2f}" for value in values)] for name, values in PAPER_TABLE_2.items()]
    absent = [f"{name} is absent: {reason}." for name, reason in results[0].card["absent"].items()]
    warnings = [f"Warning: {warning}." for warning in results[0].card["warnings"]]
    return "\n".join(
        [
            *(f"{note}\n" for note in notes),
            f"{count} masks; in brackets {100 * bootstrap.CONFIDENCE:.0f} % bootstrap intervals, "
            f"{bootstrap.RESAMPLES} resamples of the images.\n",
            table(rows, ("method", *columns, "what")),
            "",
            *absent,
            *warnings,
            "\nExpected orderings:\n",
            *(f"- {expectation.verdict}" for expectation in expectations(results)),
            "\nThe paper's Table 2, for comparison of the orderings only (512x384 photos, other networks):\n",
            table(printed, ("method", "M", "A", "FID", "S", "T")),
        ]
    )


def as_json(results: Sequence[Result], painted: Sequence[Trial], seed: int) -> dict[str, Any]:
    return {
        "rows": {result.name: result.as_json() for result in results},
        "made_by": {trial.name: identity_of(trial, seed) for trial in painted},
        "made_with": results[0].card["made_with"],
        "bootstrap": {"resamples": bootstrap.RESAMPLES, "confidence": bootstrap.CONFIDENCE},
        "expectations": [
            {"text": e.text, "holds": e.holds, "margin": e.margin, "interval": e.interval}
            for e in expectations(results)
        ],
        "outputs": results[0].card["outputs"]["count"],
        "paper": {name: dict(zip(("M", "A", "FID", "S", "T"), values)) for name, values in PAPER_TABLE_2.items()},
    }


def picture(results: Sequence[Result], jobs: Sequence[Job], out: Path) -> Path:
    """Draw reference, mask and one column per row of the table as `out`/comparison.jpg."""
    path = out / "comparison.jpg"
    compare.picture([out / result.name for result in results], jobs, path)
    return path
