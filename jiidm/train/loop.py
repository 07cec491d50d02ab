"""The training loop. It takes every stage's steps and does everything that keeps a long run safe."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Container
from pathlib import Path
from typing import Any

import jittor as jt
import numpy as np

from jiidm.data.prefetch import load_ahead
from jiidm.errors import InputError
from jiidm.report.plots import plot_losses
from jiidm.system import ranks
from jiidm.system.threads import keep_threads
from jiidm.train.log import RunLog, SilentLog
from jiidm.train.signals import DeferredSignals
from jiidm.train.stage import Stage
from jiidm.train.state import load_state, save_state
from ldm_jittor.checksum import array_digests, checksum

MOST_SKIPPED = 3
"""This many steps in a row without a finite loss and gradient end the run."""


def fit(stage: Stage, folder: Path) -> int:
    """Train `stage` to its max_steps in `folder`, from its state file if there is one. Returns the steps done.

    A turn whose loss or gradients are not finite changes nothing, nor do the turns after it: the step is skipped and
    counted, and what was to be saved then is saved with the next step that counts. A signal (see `signals`) stops the
    run at the end of a step that counts, with the state saved. The same call then goes on.
    Raises InputError where `MOST_SKIPPED` steps in a row or the last one are skipped, CheckpointError for a state that
    does not fit, and Stopped.
    All ranks call this with their shares of the batches. They take the same steps, and rank 0 writes. See that their
    states agree whenever one is loaded or saved: InputError.
    """
    keep_threads()  # a resumed run rounds as the whole one
    path = folder / stage.state_file
    jt.sync_all()  # weights are drawn in the order of the layers, not in that in which somebody reads them
    first_step, skipped_steps, window = ranks.first_then_others(lambda: _resume(stage, path))
    saved, skipped_in_a_row = first_step, 0
    owed = False
    batches = load_ahead(stage.load_batch, range(first_step, stage.max_steps))
    with _open_log(stage, folder, first_step) as log, DeferredSignals() as signals:
        stage.begin(first_step)
        _require_equal(stage, first_step)
        logged = log.values_of(first_step)
        if ranks.from_first(first_step > 0 and not stage.evaluated(first_step, logged)):
            _evaluate(stage, first_step, log, folder, signals, logged)
        elif first_step and first_step >= stage.max_steps:
            _draw_curves(stage, log, folder)  # an earlier call may have stopped before it did

        for step, batch in batches:
            done = step + 1
            losses = _update(stage, batch, step)
            log.advance(losses)

            if losses is None:
                skipped_steps, skipped_in_a_row = skipped_steps + 1, skipped_in_a_row + 1
                log.record(done, skipped_steps=skipped_steps)
                if skipped_in_a_row == MOST_SKIPPED or done == stage.max_steps:
                    raise InputError(_diverged(stage, done, skipped_in_a_row, path, saved))
                owed = owed or bool(ranks.from_first(stage.checkpoint_due(done)))
                continue
            skipped_in_a_row = 0

            if stage.ema is not None:
                stage.ema.update()
            window.append(losses)
            if stage.due(done, stage.log_every):
                log.record(done, **_mean(window))
                window = []
            stopping = signals.asked_of_any()  # a signal that comes after this line waits for the next step
            if stopping or owed or ranks.from_first(stage.checkpoint_due(done)):
                log.sync()
                _save(stage, path, done, skipped_steps, window)
                saved, owed = done, False
            if stopping:
                signals.stop_if_asked()
            _evaluate(stage, done, log, folder, signals)

        signals.stop_if_asked()
    return max(first_step, stage.max_steps)


def _update(stage: Stage, batch: Any, step: int) -> dict[str, float] | None:
    """One step: every optimizer of the stage takes its turn. Returns the mean losses, or None for a skipped step."""
    buffers = {name: optimizer.buffers() for name, optimizer in stage.optimizers.items()}
    means: dict[str, float] = {}
    for optimizer, losses in stage.losses(batch, step):
        values = defaultdict(list)
        for terms in losses:  # one graph lives at a time
            optimizer.backward(next(iter(terms.values())) / stage.accumulation_steps)
            for name, value in terms.items():
                values[name].append(value.item())
        optimizer.average_over_ranks()
        means |= ranks.means({name: _mean_if_finite(numbers) for name, numbers in values.items()})
        if not np.isfinite([optimizer.gradient_norm(), *means.values()]).all():
            optimizer.discard()
            for name, other in stage.optimizers.items():
                other.restore(buffers[name])
            return None
        optimizer.step(step)
    return means


def _mean_if_finite(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers) if np.isfinite(numbers).all() else math.nan


def _evaluate(
    stage: Stage, step: int, log: RunLog, folder: Path, signals: DeferredSignals, logged: Container[str] = ()
) -> None:
    """Let the stage measure what belongs to the step. Draw the log's curves when there is something new."""
    values = stage.evaluate(step, signals.stop_if_asked)
    measured = {name: value for name, value in values.items() if name not in logged}
    if measured:
        log.record(step, **measured)
    if measured or step == stage.max_steps:
        _draw_curves(stage, log, folder)


def _draw_curves(stage: Stage, log: RunLog, folder: Path) -> None:
    if ranks.is_first():
        with contextlib.suppress(InputError):  # a log without losses yet has no curves
            plot_losses(log.path, folder / stage.plot_file)


def _mean(window: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each value over the steps that have it: a discriminator joins late."""
    names = dict.fromkeys(name for losses in window for name in losses)
    return {name: float(np.mean([losses[name] for losses in window if name in losses])) for name in names}


def _open_log(stage: Stage, folder: Path, first_step: int) -> RunLog:
    return RunLog(folder, stage.name, first_step, stage.max_steps) if ranks.is_first() else SilentLog()


def _require_equal(stage: Stage, step: int) -> None:
    """Raises InputError where ranks differ in a parameter, moment, average, buffer, counter or learning rate."""
    if ranks.size() > 1:
        arrays, counters = stage.state()
        rates = {name: optimizer.learning_rate(step) for name, optimizer in stage.optimizers.items()}
        digest = checksum(array_digests(arrays), {"step": step, "rates": rates, **counters})
        ranks.require_equal(f"{stage.name} at step {step}", bytes.fromhex(digest))


def _save(stage: Stage, path: Path, step: int, skipped_steps: int, window: list[dict[str, float]]) -> None:
    _require_equal(stage, step)
    ranks.on_first(lambda: _write(stage, path, step, skipped_steps, window))


def _write(stage: Stage, path: Path, step: int, skipped_steps: int, window: list[dict[str, float]]) -> None:
    arrays, counters = stage.state()
    told = {"step": step, "skipped_steps": skipped_steps, "window": window, **counters}
    save_state(path, arrays, {**told, "provenance": dict(stage.provenance)})


def _resume(stage: Stage, path: Path) -> tuple[int, int, list[dict[str, float]]]:
    """Restore what `_save` wrote. Returns the steps done, how many of them were skipped, and the losses that are not
    yet in the log.
    """
    stored = load_state(path)
    if stored is None:
        return 0, 0, []
    told = stored.metadata
    stage.load_state(stored.arrays, told, str(path))
    return told["step"], told.get("skipped_steps", 0), told.get("window", [])  # older files lack the last two


def _diverged(stage: Stage, step: int, skipped: int, path: Path, saved: int) -> str:
    steps = f"step {step}" if skipped == 1 else f"steps {step - skipped + 1} to {step}"
    good = f"{path} holds the last good state, step {saved}" if path.exists() else "no state has been saved yet"
    return f"{stage.name}: the loss or its gradients are not finite in {steps}; {good}; try a lower learning rate"
