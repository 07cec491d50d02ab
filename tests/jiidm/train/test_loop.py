"""The training loop on a stage of one line: its turns, what it saves, how it stops, and what it does with NaN."""

from __future__ import annotations

import contextlib
import errno
import shutil
import signal
from pathlib import Path

import jittor as jt
import numpy as np
import pytest
from arrays import normal
from jittor import nn
from runs import records_of

from jiidm.errors import InputError, Stopped
from jiidm.train.loop import fit
from jiidm.train.optimizer import Optimizer
from jiidm.train.signals import STOPPING
from jiidm.train.stage import Stage
from ldm_jittor import checkpoint, files
from ldm_jittor.ema import EMA
from ldm_jittor.errors import CheckpointError

X, Y = normal(12, 8, 3), normal(12, 8, 2, seed=1)


class Net(nn.Module):
    """A line behind a batch norm, whose averages move in every forward pass."""

    def __init__(self):
        self.norm, self.linear = nn.BatchNorm(3), nn.Linear(3, 2)

    def execute(self, x):
        return self.linear(self.norm(x.reshape(-1, 3, 1, 1)).reshape(-1, 3))


class Game(Stage):
    """Two networks take turns; the inputs of the steps in `broken` are NaN."""

    name, state_file, plot_file = "game", "game_state.safetensors", "game_loss.png"
    max_steps, log_every, checkpoint_every, accumulation_steps = 12, 1, 4, 2
    provenance = {"data": "none"}

    def __init__(self, broken=(), stop_at=None, stop_by=signal.SIGINT):
        jt.set_global_seed(0)
        self.network, self.other = Net(), Net()
        self.optimizers = {n: Optimizer(m, lambda _: 0.1) for n, m in (("first", self.network), ("second", self.other))}
        self.ema = EMA(self.network, 0.5)
        self.broken, self.stop_at, self.stop_by = broken, stop_at, stop_by
        self.events, self.evaluations, self.began = [], [], None

    def begin(self, step):
        self.began = step

    def evaluated(self, step, logged):
        return step != 6 or "val_loss" in logged

    def load_batch(self, step):
        x = X[step] * np.float32(np.nan) if step in self.broken else X[step]
        return list(zip(np.split(x, 2), np.split(Y[step], 2)))

    def losses(self, batch, step):
        if step == self.stop_at:
            signal.raise_signal(self.stop_by)
        for name, optimizer in self.optimizers.items():
            self.events.append((step, name, {n: o.updates for n, o in self.optimizers.items()}))
            yield optimizer, self.micro_losses(optimizer.module, batch, step, name)

    def micro_losses(self, network, batch, step, name):
        for x, y in batch:
            loss = ((network(jt.array(x)) - jt.array(y)) ** 2).mean()
            yield {"loss": loss, "doubled": 2 * loss} if name == "first" else {"other": loss}

    def evaluate(self, step, stop_if_asked):
        self.evaluations.append(step)
        return {"val_loss": 0.5} if step == 6 else {}


def state_of(folder):
    return checkpoint.load(folder / "game_state.safetensors")


def log_of(folder):
    return records_of(folder / "game.jsonl")


def assert_same_state(folder, other):
    ours, theirs = state_of(folder).arrays, state_of(other).arrays
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)


def all_values(stage):
    arrays, _ = stage.state()
    return np.concatenate([array.ravel() for array in arrays.values()])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("game")
    assert fit(Game(), folder) == 12
    return folder


@pytest.fixture(autouse=True)
def handlers():
    """Signals as they are in a command in the foreground, and back afterwards."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        signal.signal(number, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class TestTurns:
    def test_each_optimizer_steps_before_the_next_turn_is_asked_for(self, tmp_path):
        stage = Game()
        stage.max_steps = 2
        fit(stage, tmp_path)
        assert stage.events == [
            (0, "first", {"first": 0, "second": 0}),
            (0, "second", {"first": 1, "second": 0}),
            (1, "first", {"first": 1, "second": 1}),
            (1, "second", {"first": 2, "second": 1}),
        ]

    def test_one_graph_lives_at_a_time(self, tmp_path, monkeypatch):
        stage, order = Game(), []
        stage.max_steps = 1
        backward, micro_losses = Optimizer.backward, stage.micro_losses

        def counted(*arguments):
            for terms in micro_losses(*arguments):
                order.append("loss")
                yield terms

        monkeypatch.setattr(Optimizer, "backward", lambda self, loss: (order.append("backward"), backward(self, loss)))
        stage.micro_losses = counted
        fit(stage, tmp_path)
        assert order == ["loss", "backward"] * 4

    def test_the_log_has_the_means_over_the_micro_batches(self, finished):
        first = log_of(finished)[0]
        assert first["step"] == 1 and first["doubled"] == pytest.approx(2 * first["loss"]) and first["other"] > 0
        jt.set_global_seed(0)
        network = Net()
        halves = [((network(jt.array(x)) - jt.array(y)) ** 2).mean().item() for x, y in Game().load_batch(0)]
        assert first["loss"] == pytest.approx(np.mean(halves), rel=1e-5)

    def test_rare_records_are_means_over_their_steps(self, finished, tmp_path):
        stage = Game()
        stage.log_every = 5
        fit(stage, tmp_path)
        losses = [record["loss"] for record in log_of(finished) if "loss" in record]
        rare = {record["step"]: record["loss"] for record in log_of(tmp_path) if "loss" in record}
        expected = {5: losses[:5], 10: losses[5:10], 12: losses[10:]}
        assert rare == pytest.approx({step: np.mean(part) for step, part in expected.items()})

    def test_the_average_follows_every_step(self, finished):
        arrays, metadata = state_of(finished)
        assert metadata["ema_updates"] == 12
        average, weight = arrays["ema.linear.weight"], arrays["first.parameters.linear.weight"]
        assert 0 < np.abs(average - weight).max() < 0.2


class TestSaving:
    def test_the_state_tells_its_steps_and_where_it_comes_from(self, finished):
        told = {"step": 12, "skipped_steps": 0, "updates": {"first": 12, "second": 12}, "provenance": {"data": "none"}}
        assert state_of(finished).metadata.items() >= told.items()

    def test_every_step_is_evaluated_after_it_is_saved(self, tmp_path):
        stage = Game()
        saved = []

        def look(step, stop_if_asked):
            saved.append((step, state_of(tmp_path).metadata["step"] if step >= 4 else None))
            return {}

        stage.evaluate = look
        fit(stage, tmp_path)
        assert [step for step, _ in saved] == list(range(1, 13))
        assert {step: found for step, found in saved if step % 4 == 0} == {4: 4, 8: 8, 12: 12}

    def test_measurements_go_into_the_log_and_are_drawn(self, finished):
        assert [record["step"] for record in log_of(finished) if "val_loss" in record] == [6]
        assert (finished / "game_loss.png").stat().st_size > 1000

    def test_a_killed_run_ends_with_the_same_state(self, finished, tmp_path):
        stage = Game()
        stage.evaluate = lambda step, _: {} if 1 / (6 - step) else {}  # fails after two steps that are not saved
        with pytest.raises(ZeroDivisionError):
            fit(stage, tmp_path)
        assert state_of(tmp_path).metadata["step"] == 4
        resumed = Game()
        fit(resumed, tmp_path)
        assert resumed.began == 4 and resumed.events[0][0] == 4
        assert_same_state(tmp_path, finished)
        assert log_of(tmp_path) == log_of(finished)

    def test_a_state_of_an_older_version_does_not_count_updates(self, finished, tmp_path):
        stage = Game(stop_at=6)
        with pytest.raises(Stopped):
            fit(stage, tmp_path)
        arrays, metadata = state_of(tmp_path)
        older = {key: metadata[key] for key in ("step", "ema_updates")}
        checkpoint.save(tmp_path / "game_state.safetensors", arrays, older)
        fit(Game(), tmp_path)
        assert_same_state(tmp_path, finished)

    def test_a_run_that_was_killed_before_it_drew_its_last_curves_draws_them(self, finished, tmp_path):
        folder = Path(shutil.copytree(finished, tmp_path / "run"))
        (folder / "game_loss.png").write_bytes(b"of an earlier step")
        fit(Game(), folder)
        assert (folder / "game_loss.png").read_bytes() == (finished / "game_loss.png").read_bytes()

    def test_a_finished_run_takes_no_step(self, finished):
        before = (finished / "game_state.safetensors").read_bytes()
        stage = Game()
        assert fit(stage, finished) == 12 and stage.events == []
        assert (finished / "game_state.safetensors").read_bytes() == before


class TestSignals:
    @pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
    def test_a_signal_finishes_the_step_and_saves(self, finished, tmp_path, number):
        with pytest.raises(Stopped) as caught:
            fit(Game(stop_at=5, stop_by=number), tmp_path)
        assert caught.value.status == {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 138, "SIGHUP": 129}[number.name]
        assert state_of(tmp_path).metadata["step"] == 6
        assert signal.getsignal(number) is signal.default_int_handler
        fit(Game(), tmp_path)
        assert_same_state(tmp_path, finished)
        assert log_of(tmp_path) == log_of(finished)

    @pytest.mark.parametrize("stop_at", [1, 5, 6, 11], ids=lambda step: f"step {step + 1}")
    def test_a_stopped_run_logs_what_a_whole_one_does(self, tmp_path, stop_at):
        logs = []
        for name, stops in {"whole": [], "stopped": [stop_at]}.items():
            (tmp_path / name).mkdir()
            for step in [*stops, None]:
                stage = Game(broken=[2], stop_at=step)
                stage.log_every = 5  # so that the stopped run has to remember losses
                with pytest.raises(Stopped) if step else contextlib.nullcontext():
                    fit(stage, tmp_path / name)
            logs.append((tmp_path / name / "game.jsonl").read_bytes())
        assert logs[1] == logs[0] and b'"val_loss"' in logs[0]

    @pytest.mark.parametrize("step, saved", [(5, 6), (12, 12)], ids=["in the middle", "at the end"])
    def test_a_signal_in_a_short_evaluation_is_not_lost(self, tmp_path, step, saved):
        stage = Game()
        stage.evaluate = lambda done, _: signal.raise_signal(signal.SIGTERM) or {} if done == step else {}
        with pytest.raises(Stopped):
            fit(stage, tmp_path)
        assert state_of(tmp_path).metadata["step"] == saved

    def test_no_run_stops_between_the_look_for_a_signal_and_saving(self, tmp_path):
        stage = Game()
        stage.checkpoint_due = lambda done: bool(done == 6 and signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped):
            fit(stage, tmp_path)
        assert state_of(tmp_path).metadata["step"] == 7

    def test_a_second_signal_stops_at_once(self, tmp_path):
        stage = Game(stop_at=5)
        stage.checkpoint_due = lambda step: False
        stage.state = lambda: signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt) as caught:
            fit(stage, tmp_path)
        assert not isinstance(caught.value, Stopped) and not (tmp_path / "game_state.safetensors").exists()

    def test_an_ignored_signal_stays_ignored(self, tmp_path):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert fit(Game(stop_at=5, stop_by=signal.SIGHUP), tmp_path) == 12
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def test_a_long_evaluation_stops_where_it_asks(self, tmp_path):
        stage, reached = Game(), []

        def evaluate(step, stop_if_asked):
            if step == 8:
                signal.raise_signal(signal.SIGTERM)
                reached.append(step)
                stop_if_asked()
                reached.append("too far")
            return {}

        stage.evaluate = evaluate
        with pytest.raises(Stopped):
            fit(stage, tmp_path)
        assert reached == [8] and state_of(tmp_path).metadata["step"] == 8


class TestNotFinite:
    def test_a_step_of_nan_changes_nothing_and_is_counted(self, tmp_path):
        stage = Game(broken=[5])
        fit(stage, tmp_path)
        assert np.isfinite(all_values(stage)).all()
        metadata = state_of(tmp_path).metadata
        assert metadata["skipped_steps"] == 1 and metadata["updates"] == {"first": 11, "second": 11}
        assert metadata["ema_updates"] == 11 and metadata["step"] == 12
        assert [record for record in log_of(tmp_path) if record["step"] == 6] == [{"step": 6, "skipped_steps": 1}]
        assert stage.evaluations == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]

    def test_the_steps_before_and_after_are_those_without_it(self, tmp_path):
        """As if the sample had not been there: batch norm's averages, too."""
        broken = Game(broken=[1])
        broken.max_steps = 3
        fit(broken, tmp_path)
        whole = Game()
        whole.load_batch = lambda step: Game.load_batch(whole, [0, 2][step])
        whole.max_steps = 2
        (tmp_path / "whole").mkdir()
        fit(whole, tmp_path / "whole")
        assert_same_state(tmp_path, tmp_path / "whole")

    def test_a_gradient_of_nan_under_a_finite_loss_is_seen(self, tmp_path):
        stage = Game()
        usual = stage.micro_losses

        def rooted(network, batch, step, name):
            for terms in usual(network, batch, step, name):
                root = (network.linear.bias * 0).sqr().sum().sqrt()  # 0, its slope 0 / 0
                yield {key: value + root for key, value in terms.items()} if step == 3 else terms

        stage.micro_losses = rooted
        fit(stage, tmp_path)
        assert state_of(tmp_path).metadata["skipped_steps"] == 1 and np.isfinite(all_values(stage)).all()

    def test_three_in_a_row_end_the_run_and_name_the_last_good_state(self, tmp_path):
        stage = Game(broken=[2, 6, 7, 8])
        with pytest.raises(InputError) as caught:
            fit(stage, tmp_path)
        told = str(caught.value)
        assert "steps 7 to 9" in told and f"{tmp_path / 'game_state.safetensors'} holds" in told and "step 4" in told
        assert "\n" not in told
        arrays, metadata = state_of(tmp_path)
        assert metadata["step"] == 4 and all(np.isfinite(array).all() for array in arrays.values())

    def test_what_a_skipped_step_should_have_saved_the_next_one_saves(self, tmp_path):
        with pytest.raises(InputError, match="holds the last good state, step 5"):
            fit(Game(broken=[3, 5, 6, 7]), tmp_path)
        assert state_of(tmp_path).metadata["step"] == 5

    def test_a_run_that_diverges_before_it_saves_says_so(self, tmp_path):
        with pytest.raises(InputError, match="no state has been saved yet"):
            fit(Game(broken=range(12)), tmp_path)
        assert not (tmp_path / "game_state.safetensors").exists()

    def test_a_run_whose_last_step_is_skipped_does_not_end_well(self, tmp_path):
        with pytest.raises(InputError, match="in step 12; .*step 8"):
            fit(Game(broken=[11]), tmp_path)
        assert state_of(tmp_path).metadata["step"] == 8

    def test_a_signal_in_a_skipped_step_waits_for_one_that_counts(self, tmp_path):
        with pytest.raises(Stopped):
            fit(Game(broken=[5, 6], stop_at=5), tmp_path)
        assert state_of(tmp_path).metadata.items() >= {"step": 8, "skipped_steps": 2}.items()


def test_a_run_with_a_damaged_state_ends_as_an_undisturbed_one(finished, tmp_path, caplog):
    with pytest.raises(Stopped):
        fit(Game(stop_at=9), tmp_path)
    path = tmp_path / "game_state.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    stage = Game()
    assert fit(stage, tmp_path) == 12 and stage.began == 8
    assert "step 8, takes its place" in caplog.text
    assert_same_state(tmp_path, finished)
    assert log_of(tmp_path) == log_of(finished)


def test_a_full_disk_leaves_the_state_before_and_the_run_goes_on_from_it(finished, tmp_path, monkeypatch):
    sync = files._sync

    def fill_up(path):
        if path.suffix == ".safetensors" and (tmp_path / "game_state.safetensors").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", fill_up)
        with pytest.raises(CheckpointError, match=r"game_state.*No space left on device"):
            fit(Game(), tmp_path)
    assert state_of(tmp_path).metadata["step"] == 4
    assert not [path for path in tmp_path.iterdir() if ".tmp" in path.name]
    stage = Game()
    assert fit(stage, tmp_path) == 12 and stage.began == 4
    assert_same_state(tmp_path, finished)
