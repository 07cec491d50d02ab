"""What is kept of an aligned training: every loss, and the figures that follow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.alignment import parts
from benchmarks.alignment.verdict import Verdict, distance, judge, relative

JITTOR, AGAIN, TORCH = "Jittor", "Jittor again", "PyTorch"
THREADS = ("PyTorch, 2 threads", "PyTorch, 3 threads")
KERNELS = ("PyTorch without oneDNN", "PyTorch without oneDNN, 2 threads")
YARDSTICKS = (*THREADS, *KERNELS)
ENDS = (JITTOR, TORCH, *YARDSTICKS)
"""Whose losses are kept. The second run of Jittor only tells whether it repeats the first."""
JUDGED = ("simple", "reconstruction", "regularization", "adversarial_weight", "discriminator")
"""The terms that stay away from zero. The sums do not, and there no relative difference is small."""
COMPILING = 10
"""Steps that throughput leaves out: Jittor compiles in the first ones."""
DIGITS = 9
"""As many tell any two float32 apart."""


def make(name: str, short: bool, folder: Path) -> dict[str, Any]:
    """The record of a part whose ends have all written to `folder`."""
    part, results = parts.part_named(name, short), {end: read(folder / end) for end in ENDS}
    rates = [results[end]["learning_rate"] for end in (JITTOR, TORCH)]
    return {
        "part": name,
        "config": part.config,
        "changes": part.changes,
        "cpu": parts.cpu(),
        "verdicts": {term: verdict._asdict() for term, verdict in verdicts(results, JITTOR, YARDSTICKS).items()},
        "verdicts_by_threads_alone": {
            term: verdict._asdict() for term, verdict in verdicts(results, JITTOR, THREADS).items()
        },
        "excess_of_pytorch": excess_of_pytorch(results),
        "codes": codes(folder),
        "distances": distances(folder),
        "repeats": repeats(folder) if parts.repeated(name, short) else None,
        "learning_rate_difference": float(relative(*rates).max()),
        "ends": {end: summary(results[end], parts.batch_size(name, short)) for end in ENDS},
    }


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / parts.RESULT).read_text())


def differences(results: Mapping[str, Any], end: str, term: str) -> np.ndarray:
    """Relative, of an end to PyTorch at every step."""
    return relative(results[end]["losses"][term], results[TORCH]["losses"][term])


def yardstick(results: Mapping[str, Any], ends: Sequence[str], term: str) -> np.ndarray:
    """The largest of several ends' differences at every step."""
    return np.max([differences(results, end, term) for end in ends], axis=0)


def verdicts(results: Mapping[str, Any], judged: str, ends: Sequence[str]) -> dict[str, Verdict]:
    """Of an end, by the yardstick of some others."""
    steps, terms = len(results[TORCH]["learning_rate"]), results[TORCH]["losses"]
    return {
        term: judge(differences(results, judged, term), yardstick(results, ends, term), joined=steps - len(terms[term]))
        for term in JUDGED
        if term in terms
    }


def excess_of_pytorch(results: Mapping[str, Any]) -> dict[str, float]:
    """How far PyTorch's own runs are beyond the limit, each judged by its others: the largest excess of a term."""
    found = [verdicts(results, end, [other for other in YARDSTICKS if other != end]) for end in YARDSTICKS]
    return {term: max(each[term].excess for each in found) for term in found[0]}


def codes(folder: Path) -> dict[str, Any] | None:
    """How often PyTorch would have chosen another code than it was given, and the verdict. None without a codebook."""
    oracle = np.load(folder / TORCH / parts.ARRAYS)
    if "borders" not in oracle.files:
        return None
    borders, z = oracle["borders"], oracle["latents"]
    lengths = np.linalg.norm(z, axis=2)
    others = (np.load(folder / end / parts.ARRAYS)["latents"] for end in YARDSTICKS)
    apart = np.max([(np.linalg.norm(other - z, axis=2) / lengths).max(axis=(1, 2, 3)) for other in others], axis=0)
    verdict = judge(borders.max(axis=1), apart)
    return {"otherwise": int(np.count_nonzero(borders)), "of": borders.size, **verdict._asdict()}


def distances(folder: Path) -> dict[str, dict[str, float]]:
    """How far Jittor and the yardsticks end from PyTorch: weights, averages, gradients, and images in grey levels.

    Arrays are read one by one, because those of the full model take gigabytes.
    """
    with np.load(folder / JITTOR / parts.GIVEN) as given:
        start = {name.removeprefix("start."): given[name] for name in given.files if name.startswith("start.")}
    oracle, made = (np.load(folder / end / parts.ARRAYS) for end in (TORCH, JITTOR))
    kinds = dict.fromkeys(name.split(".")[0] for name in made.files)
    found: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
    for end in (JITTOR, *YARDSTICKS):
        arrays = np.load(folder / end / parts.ARRAYS)
        for kind in kinds:
            names = [name for name in oracle.files if name.split(".")[0] == kind]
            if kind == "images":
                found[kind][end] = float(np.abs(arrays[kind].astype(float) - oracle[kind]).mean())
            else:
                triples = ((arrays[name], oracle[name], start.get(name.partition(".")[2], 0)) for name in names)
                found[kind][end] = distance(triples)
    return found


def repeats(folder: Path) -> bool:
    """Whether Jittor's second run gave the same losses and the same arrays to the bit."""
    if read(folder / AGAIN)["losses"] != read(folder / JITTOR)["losses"]:
        return False
    first, second = (np.load(folder / end / parts.ARRAYS) for end in (JITTOR, AGAIN))
    return all(np.array_equal(first[name], second[name]) for name in first.files)


def summary(result: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """An end's own figures, and every loss to all its digits."""
    seconds = result["seconds"]
    steady = seconds[COMPILING:] or seconds
    rounded = {name: [float(f"{value:.{DIGITS}g}") for value in values] for name, values in result["losses"].items()}
    return {
        "environment": result["environment"],
        "seconds_per_step": float(np.median(steady)),
        "samples_per_second": samples / float(np.median(steady)),
        "peak_gib": result["peak_gib"],
        "learning_rate": result["learning_rate"],
        "losses": rounded,
    }


def passed(record: Mapping[str, Any]) -> bool:
    verdicts = [*record["verdicts"].values(), *filter(None, [record["codes"]])]
    return record["repeats"] is not False and all(verdict["breach"] is None for verdict in verdicts)
