"""Training on several ranks against training in one process, with everything that may happen on the way."""

from __future__ import annotations

import os
import signal

import pytest
from ranks import finish, needs_open_mpi, process_of, relative_difference, start, values_of, wait_until
from runs import ctrl_c_at

from jiidm.config import load as configs
from jiidm.config.load import load_config
from jiidm.train import loop
from jiidm.train.run import train, train_segmenter_run
from ldm_jittor import checkpoint

pytestmark = [pytest.mark.slow, needs_open_mpi]

ROUNDING = 1e-3
"""For the weights of a network together. Single biases whose true gradient is zero move by rounding."""


def agrees(a, b, name="loss"):
    ours, theirs = values_of(a, name), values_of(b, name)
    assert ours and [step for step, _ in ours] == [step for step, _ in theirs]
    assert [value for _, value in ours] == pytest.approx([value for _, value in theirs], rel=1e-3, abs=1e-3)


def test_two_ranks_train_what_one_process_trains(finished, tmp_path):
    """Autoencoder with codebook and discriminator, latents, U-Net in two micro-batches, distances, the mean of two."""
    run = tmp_path / "run"
    finish(start("train", "--config", "smoke", "--run", run, "--device", "cpu", ranks=2))
    for log in ("autoencoder.jsonl", "diffusion.jsonl"):
        agrees(run / log, finished / log)
    for name in ("val_loss", "fd_seg"):
        agrees(run / "diffusion.jsonl", finished / "diffusion.jsonl", name)
    for file in ("autoencoder.safetensors", "model.safetensors"):
        assert relative_difference(run / file, finished / file) <= ROUNDING
    assert {path.name for path in finished.iterdir()} <= {path.name for path in run.iterdir()}  # and the report


def test_batch_norm_and_distances_of_a_gan_look_at_all_ranks(tmp_path):
    """Three validation images on four ranks: one has none. The averaged weights' norms settle on all of them."""
    from jiidm.baselines.run import train_gan

    settings = {"max_steps": 2, "batch_size": 4, "decay_steps": 0, "distance_every": 2, "ema_decay": 0.5}
    short = [f"gan_training.{key}={value}" for key, value in settings.items()]
    train_gan(configs.override(load_config("smoke_gaugan"), short), None, tmp_path / "one")
    given = [word for assignment in short for word in ("--set", assignment)]
    finish(start("train", "--config", "smoke_gaugan", "--run", tmp_path / "four", "--device", "cpu", *given, ranks=4))
    for name in ("loss", "fd_seg"):
        agrees(tmp_path / "four" / "gan.jsonl", tmp_path / "one" / "gan.jsonl", name)
    # to the bit: the sums over the batch have the ranks' order in one process, too
    assert relative_difference(*(tmp_path / name / "model.safetensors" for name in ("one", "four"))) == 0


def test_the_segmenters_batch_norm_too(smoke, tmp_path):
    train_segmenter_run(configs.override(smoke, ["segmenter.max_steps=2"]), None, tmp_path / "one")
    command = ["train", "segmenter", "--config", "smoke", "--run", tmp_path / "two", "--device", "cpu"]
    finish(start(*command, "--set", "segmenter.max_steps=2", ranks=2))
    for name in ("loss", "pixel_accuracy"):
        agrees(tmp_path / "two" / "segmenter.jsonl", tmp_path / "one" / "segmenter.jsonl", name)
    assert relative_difference(*(tmp_path / name / "segmenter.safetensors" for name in ("one", "two"))) <= ROUNDING


def test_killed_then_stopped_then_on_one_rank_then_on_four(finished, smoke, tmp_path, monkeypatch):
    autoencoder, run = finished / "autoencoder.safetensors", tmp_path / "run"
    state = run / "state.safetensors"

    def settings(steps, checkpoint_every):
        own = {"max_steps": steps, "checkpoint_every": checkpoint_every, "validate_every": 1000}
        own |= {"accumulation_steps": 1, "distance_every": "null"}
        return [f"diffusion_training.{key}={value}" for key, value in own.items()]

    def begin(ranks, *given):
        assignments = [word for assignment in settings(*given) for word in ("--set", assignment)]
        command = ["train", "--config", "smoke", "--run", run, "--device", "cpu", "--autoencoder", autoencoder]
        return start(*command, *assignments, ranks=ranks)

    def step():
        return checkpoint.load_metadata(state)["step"] if state.exists() else 0

    killed = begin(2, 1000, 1)
    wait_until(lambda: step() > 0, killed)
    os.kill(process_of(killed, 1), signal.SIGKILL)
    assert "a rank was ended by signal 9" in killed.communicate(timeout=60)[1]
    assert killed.returncode == 128 + signal.SIGKILL

    done = step()
    stopped = begin(2, 1000, 1)
    wait_until(lambda: step() > done, stopped)
    os.kill(process_of(stopped, 1), signal.SIGTERM)
    assert stopped.communicate(timeout=60)[1].count("interrupted") == 1
    assert stopped.returncode == 128 + signal.SIGTERM

    done = step()
    ctrl_c_at(monkeypatch, loop, "_update", 2)
    with pytest.raises(KeyboardInterrupt):
        train(configs.override(smoke, settings(1000, 1)), None, run, autoencoder)
    assert step() == done + 2

    finish(begin(4, done + 4, 1000))
    monkeypatch.undo()
    train(configs.override(smoke, settings(done + 4, 1000)), None, tmp_path / "whole", autoencoder)
    agrees(run / "diffusion.jsonl", tmp_path / "whole" / "diffusion.jsonl")
    models = [folder / "model.safetensors" for folder in (run, tmp_path / "whole")]
    assert relative_difference(*models) <= ROUNDING


def test_what_all_ranks_refuse_is_one_line(tmp_path):
    for ranks, given, told in (
        (2, [tmp_path / "nowhere"], "nowhere"),
        (4, [], "a multiple of ranks = 4 times accumulation_steps = 2"),
    ):
        process = start("train", *given, "--config", "smoke", "--run", tmp_path / "run", "--device", "cpu", ranks=ranks)
        [line] = process.communicate(timeout=60)[1].splitlines()
        assert process.returncode == 2 and line.startswith("error: ") and told in line
