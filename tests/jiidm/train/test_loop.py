from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from jiidm.config.schema import DiffusionTraining
from jiidm.train import loop as training
from jiidm.train.loop import Trainer, learning_rate_at, micro_batches, sample_index
from ldm_jittor.checkpoint import load_into, under_prefix
from ldm_jittor.errors import CheckpointError


class Line(nn.Module):
    def __init__(self, weight):
        self.linear = nn.Linear(3, 2)
        self.linear.weight.assign(jt.array(weight))
        self.linear.bias.assign(jt.array(np.array([0.5, -0.5], np.float32)))

    def execute(self, x):
        return self.linear(x)


NAMES = ["linear.weight", "linear.bias"]
RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((2, 3)).astype(np.float32)
X = RNG.standard_normal((4, 8, 3)).astype(np.float32)
Y = RNG.standard_normal((4, 8, 2)).astype(np.float32)


def squared_error(module, x, y):
    return ((module(jt.array(x)) - jt.array(y)) ** 2).mean()


def take_steps(trainer, steps, pieces=1, rates=(0.1,) * 4):
    for step in steps:
        parts = zip(np.split(X[step], pieces), np.split(Y[step], pieces))
        trainer.step((squared_error(trainer.module, x, y) for x, y in parts), pieces, step, rates[step])


def parameters_of(trainer):
    return {name: value.numpy() for name, value in trainer.module.named_parameters()}


def adamw_by_hand(rates, weight_decay=0.0, betas=(0.9, 0.999), eps=1e-8):
    """Loshchilov & Hutter 2019, algorithm 2, in float64, on the mean squared error of x W^T + b.

    Returns the parameters and the first moments, which unlike the parameters tell the gradients' scale.
    """
    p = [WEIGHT.astype(np.float64), np.array([0.5, -0.5])]
    m, v = [0.0, 0.0], [0.0, 0.0]
    for t, rate in enumerate(rates, 1):
        residual = 2 * (X[t - 1] @ p[0].T + p[1] - Y[t - 1]) / Y[t - 1].size
        for i, gradient in enumerate((residual.T @ X[t - 1], residual.sum(0))):
            m[i] = betas[0] * m[i] + (1 - betas[0]) * gradient
            v[i] = betas[1] * v[i] + (1 - betas[1]) * gradient**2
            corrected = m[i] / (1 - betas[0] ** t), v[i] / (1 - betas[1] ** t)
            p[i] = p[i] - rate * (corrected[0] / (np.sqrt(corrected[1]) + eps) + weight_decay * p[i])
    return dict(zip(NAMES, p)), dict(zip(NAMES, m))


def assert_close(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], atol=tolerance, rtol=0, err_msg=name)


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_updates_equal_adamw_whatever_the_accumulation(pieces):
    trainer = Trainer(Line(WEIGHT), weight_decay=0.01)
    take_steps(trainer, range(3), pieces)
    parameters, moments = adamw_by_hand([0.1] * 3, weight_decay=0.01)
    assert_close(parameters_of(trainer), parameters, 1e-5)
    assert_close(under_prefix("first_moment", trainer.state()), moments, 1e-5)


def test_learning_rate_warms_up_then_stays_or_falls_to_zero():
    constant = DiffusionTraining(learning_rate=0.1, warmup_steps=4, max_steps=100)
    rates = [learning_rate_at(step, constant) for step in (0, 1, 3, 4, 99)]
    assert rates == pytest.approx([0.025, 0.05, 0.1, 0.1, 0.1])
    cosine = DiffusionTraining(learning_rate=0.1, warmup_steps=0, max_steps=100, lr_schedule="cosine")
    rates = [learning_rate_at(step, cosine) for step in (0, 25, 50, 75, 99)]
    assert rates == pytest.approx([0.1, 0.1 * (2 + 2**0.5) / 4, 0.05, 0.1 * (2 - 2**0.5) / 4, 0.0], abs=3e-5)


def test_other_betas_and_rates():
    trainer = Trainer(Line(WEIGHT), betas=(0.5, 0.9))
    rates = [0.1 / 3, 0.2 / 3, 0.1, 0.05]
    take_steps(trainer, range(4), rates=rates)
    assert_close(parameters_of(trainer), adamw_by_hand(rates, betas=(0.5, 0.9))[0], 1e-5)


def test_step_returns_each_loss():
    trainer = Trainer(Line(WEIGHT))
    losses = [squared_error(trainer.module, x, y) for x, y in zip(np.split(X[0], 2), np.split(Y[0], 2))]
    expected = [loss.item() for loss in losses]
    assert trainer.step(iter(losses), 2, 0, 0.1) == pytest.approx(expected, rel=1e-6)
    assert all(type(loss) is float for loss in expected)


def test_losses_are_drawn_one_at_a_time():
    """Each graph must be freed before the next is built: the n-th loss is asked for after n - 1 backward passes."""
    trainer = Trainer(Line(WEIGHT))
    backward, order = trainer.optimizer.backward, []
    trainer.optimizer.backward = lambda loss: (order.append("backward"), backward(loss))

    def losses():
        for x, y in zip(np.split(X[0], 2), np.split(Y[0], 2)):
            order.append("loss")
            yield squared_error(trainer.module, x, y)

    trainer.step(losses(), 2, 0, 0.1)
    assert order == ["loss", "backward"] * 2


def test_state_through_a_file_continues_exactly(tmp_path):
    whole = Trainer(Line(WEIGHT), weight_decay=0.01)
    take_steps(whole, range(4), 2)

    first = Trainer(Line(WEIGHT), weight_decay=0.01)
    take_steps(first, range(2), 2)
    path = tmp_path / "state.safetensors"
    training.save_state(path, {"trainer": first.state()}, {"step": 2})
    parts, metadata = training.load_state(path, ["trainer"])
    second = Trainer(Line(np.zeros_like(WEIGHT)), weight_decay=0.01)
    second.load_state(parts["trainer"], str(path))
    assert metadata == {"step": 2}
    take_steps(second, range(2, 4), 2)
    for name, value in parameters_of(whole).items():
        np.testing.assert_array_equal(parameters_of(second)[name], value)
    for name, value in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], value)


def test_no_state_file_yet(tmp_path):
    assert training.load_state(tmp_path / "state.safetensors", ["trainer"]) is None


@pytest.mark.parametrize("damage", ["missing parameter", "missing moment", "shape"])
def test_a_state_that_does_not_fit_is_refused(damage):
    trainer = Trainer(Line(WEIGHT))
    arrays = trainer.state()
    if damage == "shape":
        arrays["parameters.linear.weight"] = np.zeros((5, 3), np.float32)
    else:
        del arrays["parameters.linear.weight" if damage == "missing parameter" else "first_moment.linear.weight"]
    with pytest.raises(CheckpointError, match=r"my\.safetensors.*linear\.weight"):
        trainer.load_state(arrays, "my.safetensors")


def test_restored_moments_are_not_trained_or_shared():
    trainer = Trainer(Line(WEIGHT))
    take_steps(trainer, range(1))
    state = trainer.state()
    before = {name: value.copy() for name, value in state.items()}
    trainer.load_state(state, "here")
    take_steps(trainer, range(1, 2))
    for name, value in before.items():
        np.testing.assert_array_equal(state[name], value)


def test_loading_weights_into_the_module_keeps_the_optimizer_attached():
    trainer = Trainer(Line(WEIGHT))
    load_into(trainer.module, {"linear.weight": WEIGHT * 0, "linear.bias": np.ones(2, np.float32)}, "here")
    take_steps(trainer, range(1))
    assert abs(parameters_of(trainer)["linear.weight"]).max() == pytest.approx(0.1, rel=1e-3)


def test_every_epoch_is_another_permutation():
    epochs = [[sample_index(10 * epoch + i, 10, seed=3) for i in range(10)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert epochs[0] != [sample_index(i, 10, seed=4) for i in range(10)]


def test_sample_order_does_not_depend_on_what_was_asked_before():
    expected = [sample_index(number, 7, seed=1) for number in range(40)]
    assert [sample_index(number, 7, seed=1) for number in reversed(range(40))] == expected[::-1]


@pytest.mark.parametrize("accumulation", [1, 2, 3, 6])
def test_a_step_sees_the_same_samples_whatever_the_accumulation(accumulation):
    batches = micro_batches(5, 12, accumulation)
    assert len(batches) == accumulation and len({len(batch) for batch in batches}) == 1
    assert [number for batch in batches for number in batch] == list(range(60, 72))
