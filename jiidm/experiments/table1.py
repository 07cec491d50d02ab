"""The paper's Table 1 on your own models: every method paints the same masks, and the same networks score them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jiidm.baselines.cost import image_gflop, network_costs
from jiidm.data.pairs import IMAGE_FOLDER, Pair, find_pairs, read_split
from jiidm.errors import InputError
from jiidm.evaluate import bootstrap, segmenter
from jiidm.evaluate.score import Evaluators
from jiidm.experiments import trials as experiment
from jiidm.experiments.ablation import diffusion_alone
from jiidm.experiments.impartial import networks_of
from jiidm.experiments.speed import Timed, seconds_per_image
from jiidm.experiments.trials import Result, Trial
from jiidm.inference.inputs import Job
from jiidm.model import files
from jiidm.model.files import MODEL_FILE, RUNS, ModelFile
from ldm_jittor.files import read_json

SHIPPED = Path(__file__).parent.parent / "assets" / "table1"
SHIPPED_ROWS = ("sean", "scgan", "gaugan", "clade", "iidm")
JUDGE = SHIPPED / "judge.safetensors"
"""A segmenter that took part in no training: its predictions give M, its features the Frechet distance."""
STORED = SHIPPED / "scores.json"
"""The embedded table, with the scores of every image."""
NAMES = {"sean": "SEAN", "scgan": "SCGAN", "gaugan": "GauGAN", "clade": "CLADE", "iidm": "IIDM"}
"""The paper's names of the methods, in its order."""
DM = "DM"


def default_judge() -> Path:
    """The segmenter that scores where none is named: `JUDGE`, else the shipped one, which may have taken part."""
    return JUDGE if JUDGE.is_file() else segmenter.SHIPPED


class Row(NamedTuple):
    """One method of the table."""

    result: Result
    facts: dict[str, Any]
    """What is known besides scores, by the names of `facts_of`; and seconds_per_image, None where it was not taken."""

    @property
    def name(self) -> str:
        return self.result.name


def find_models(given: Sequence[Path]) -> list[ModelFile]:
    """Model files and finished run folders, or without any every finished run in runs/.

    Raises InputError where there is none, and CheckpointError for what is no model.
    """
    found = list(given) or sorted(path.parent for path in RUNS.glob(f"*/{MODEL_FILE}"))
    if not found:
        raise InputError(f"{RUNS}: no finished training run; name model files or run folders after DATA")
    return [ModelFile(path / MODEL_FILE if (path / MODEL_FILE).is_file() else path) for path in found]


def shipped_models() -> list[ModelFile]:
    """The embedded rows, and the demo model as one more. Raises InputError where the rows did not ship."""
    if missing := [name for name in SHIPPED_ROWS if not (SHIPPED / f"{name}.safetensors").is_file()]:
        raise InputError(
            f"{SHIPPED}: {missing[0]}.safetensors is not there; `make table1` makes it, or give DATA and MODELS"
        )
    return [ModelFile(SHIPPED / f"{name}.safetensors") for name in SHIPPED_ROWS] + [ModelFile(files.SHIPPED)]


def trials(models: Sequence[ModelFile]) -> list[Trial]:
    """A row for each model, in the paper's order, and DM's before the first diffusion model's, by the same weights.

    The first model of a method has the paper's name, further ones that of their config behind it.
    Raises InputError for two rows of one name.
    """
    found: list[Trial] = []
    for method, name in NAMES.items():
        for number, model in enumerate(model for model in models if model.config.method == method):
            if number == 0 and method == "iidm":
                found.append(Trial(DM, model, diffusion_alone(model.config), from_noise=True))
            row = name if number == 0 else f"{name}-{model.config.name}"
            if row in [trial.name for trial in found]:
                raise InputError(f"{model.path}: the second {method} of the config {model.config.name}")
            found.append(Trial(row, model, model.config))
    return found


def held_out_pairs(data: Path, models: Sequence[ModelFile]) -> list[Pair]:
    """The pairs of a data folder on which no model was trained: all, or where some were, their common validation pairs.

    Raises InputError where a model was trained on the folder and its split is not known, and where no pair is left.
    """
    pairs = find_pairs(data)
    unseen = {pair.stem for pair in pairs}
    for model in models:
        if _was_trained_on(model, data):
            runs = [folder for folder in model.path.parents[:2] if (folder / "split").is_dir()]
            if not runs:
                raise InputError(f"{model.path}: trained on {data}, and its run's split is not there to tell on which")
            unseen &= {pair.stem for pair in read_split(runs[0] / "split", pairs)[1]}
    if not unseen:
        raise InputError(f"{data}: no pair that all models have not been trained on")
    return [pair for pair in pairs if pair.stem in unseen]


def _was_trained_on(model: ModelFile, data: Path) -> bool:
    told = model.metadata.get("provenance", {}).get("data", "")
    folders = [Path(told), *(parent / "data" for parent in model.path.parents[:2])]
    return any((folder / IMAGE_FOLDER).is_dir() and folder.samefile(data) for folder in folders)


def rows(
    found: Sequence[Trial], jobs: Sequence[Job], out: Path, seed: int, evaluators: Evaluators, real: Path
) -> list[Row]:
    """Paint what is missing of every row in `out`/<its name>, and score all. Raises as `generate` and `examine` do."""
    experiment.generate(found, jobs, out, seed, lambda trial, pipeline: Timed(pipeline, out / trial.name))
    results = [experiment.score_trial(trial.name, jobs, out, evaluators, real) for trial in found]
    return [
        Row(result, {**facts_of(trial), "seconds_per_image": seconds_per_image(out / trial.name)})
        for trial, result in zip(found, results)
    ]


def facts_of(trial: Trial) -> dict[str, Any]:
    """Model, size, parameters that paint, GFLOP of an image, how the reference enters, networks that took part."""
    costs = network_costs(trial.config)
    used = networks_of(trial.model)
    return {
        "model": trial.model.path.name,
        "sha256": trial.model.sha256,
        "size": str(trial.config.data.size),
        "parameters": sum(cost.parameters for name, cost in costs.items() if name != "discriminator"),
        "gflop": round(image_gflop(trial.config), 2),
        "reference": reference_of(trial),
        "networks": "not told" if used is None else ", ".join(f"{each.use}: {each.name}" for each in used) or "none",
    }


def reference_of(trial: Trial) -> str:
    """How the reference enters, in words."""
    config = trial.config
    if trial.from_noise:
        return "not at all"
    if config.method == "sean":
        return "a style code for each class, under the reference's own mask"
    if config.is_gan:
        if not config.has_vae:
            return "not at all"
        return f"{'a drawn' if config.gan.sample_style else 'the mean'} style code of the VAE's encoder"
    rounds = config.inference.rounds
    colored = [str(number) for number, round_ in enumerate(rounds, 1) if round_.color_transfer]
    start = f"noised to timestep {rounds[0].start_timestep}"
    how = "colour transfer by region" if config.uses_reference_masks else "colour transfer"
    return f"{start}; {how} before round {' and '.join(colored)}" if colored else start


def as_json(found: Sequence[Row], seed: int, notes: Sequence[str]) -> dict[str, Any]:
    """Everything that `read` needs, and the scores and intervals again for other programs."""
    return {
        "notes": list(notes),
        "seed": seed,
        "bootstrap": {"resamples": bootstrap.RESAMPLES, "confidence": bootstrap.CONFIDENCE},
        "rows": {row.name: {**row.result.as_json(), **row.facts} for row in found},
        "cards": {row.name: row.result.card for row in found},
        "draws": {row.name: _stored_draws(row.result) for row in found},
    }


def _stored_draws(result: Result) -> dict[str, list[float]]:
    """The draws that do not follow from the images' scores."""
    per_image = next(iter(result.card["images"].values()))
    return {s: [round(float(v), 4) for v in draws] for s, draws in result.draws.items() if s not in per_image}


def read(path: Path) -> tuple[list[Row], list[str]]:
    """The rows and the notes of a file that `as_json` made. Raises InputError for another."""
    try:
        stored = read_json(path)
        return list(_rows_of(stored)), list(stored["notes"])
    except FileNotFoundError:
        raise InputError(
            f"{path}: no embedded table is there; `make table1` makes it, or give DATA and MODELS"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a table of `jiidm table1` ({error})") from None


def _rows_of(stored: Mapping[str, Any]) -> Iterator[Row]:
    for name, entry in stored["rows"].items():
        images = list(stored["cards"][name]["images"].values())
        chosen = bootstrap.resamples(len(images))
        draws = {score: bootstrap.means(np.array([image[score] for image in images]), chosen) for score in images[0]}
        draws |= {score: np.array(values) for score, values in stored["draws"][name].items()}
        facts = {key: value for key, value in entry.items() if key not in ("scores", "intervals")}
        yield Row(Result(name, stored["cards"][name], draws), facts)
