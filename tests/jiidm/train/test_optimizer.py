"""AdamW against Loshchilov & Hutter's algorithm in numpy, its state, and the gradients of a step."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from jiidm.config.schema import DiffusionTraining
from jiidm.train.optimizer import Optimizer, learning_rate_at
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


def make(weight=WEIGHT, rates=(0.1,) * 4, **settings):
    return Optimizer(Line(weight), lambda step: rates[step], **settings)


def take_steps(optimizer, steps, pieces=1):
    for step in steps:
        for x, y in zip(np.split(X[step], pieces), np.split(Y[step], pieces)):
            optimizer.backward(squared_error(optimizer.module, x, y) / pieces)
        optimizer.step(step)


def parameters_of(optimizer):
    return {name: value.numpy() for name, value in optimizer.module.named_parameters()}


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
    optimizer = make(weight_decay=0.01)
    take_steps(optimizer, range(3), pieces)
    parameters, moments = adamw_by_hand([0.1] * 3, weight_decay=0.01)
    assert_close(parameters_of(optimizer), parameters, 1e-5)
    assert_close(under_prefix("first_moment", optimizer.state()), moments, 1e-5)


def test_learning_rate_warms_up_then_stays_or_falls_to_zero():
    constant = DiffusionTraining(learning_rate=0.1, warmup_steps=4, max_steps=100)
    rates = [learning_rate_at(step, constant) for step in (0, 1, 3, 4, 99)]
    assert rates == pytest.approx([0.025, 0.05, 0.1, 0.1, 0.1])
    cosine = DiffusionTraining(learning_rate=0.1, warmup_steps=0, max_steps=100, lr_schedule="cosine")
    rates = [learning_rate_at(step, cosine) for step in (0, 25, 50, 75, 99)]
    assert rates == pytest.approx([0.1, 0.1 * (2 + 2**0.5) / 4, 0.05, 0.1 * (2 - 2**0.5) / 4, 0.0], abs=3e-5)


def test_other_betas_and_rates():
    rates = [0.1 / 3, 0.2 / 3, 0.1, 0.05]
    optimizer = make(rates=rates, betas=(0.5, 0.9))
    take_steps(optimizer, range(4))
    assert_close(parameters_of(optimizer), adamw_by_hand(rates, betas=(0.5, 0.9))[0], 1e-5)


def test_state_continues_exactly():
    whole = make(weight_decay=0.01)
    take_steps(whole, range(4), 2)

    first = make(weight_decay=0.01)
    take_steps(first, range(2), 2)
    second = make(np.zeros_like(WEIGHT), weight_decay=0.01)
    second.load_state(first.state(), first.updates, "here")
    take_steps(second, range(2, 4), 2)
    for name, value in whole.state().items():
        np.testing.assert_array_equal(second.state()[name], value)


@pytest.mark.parametrize("damage", ["missing parameter", "missing moment", "shape"])
def test_a_state_that_does_not_fit_is_refused(damage):
    optimizer = make()
    arrays = optimizer.state()
    if damage == "shape":
        arrays["parameters.linear.weight"] = np.zeros((5, 3), np.float32)
    else:
        del arrays["parameters.linear.weight" if damage == "missing parameter" else "first_moment.linear.weight"]
    with pytest.raises(CheckpointError, match=r"my\.safetensors.*linear\.weight"):
        optimizer.load_state(arrays, 0, "my.safetensors")


def test_restored_moments_are_not_trained_or_shared():
    optimizer = make()
    take_steps(optimizer, range(1))
    state = optimizer.state()
    before = {name: value.copy() for name, value in state.items()}
    optimizer.load_state(state, 1, "here")
    take_steps(optimizer, range(1, 2))
    for name, value in before.items():
        np.testing.assert_array_equal(state[name], value)


def test_loading_weights_into_the_module_keeps_the_optimizer_attached():
    optimizer = make()
    load_into(optimizer.module, {"linear.weight": WEIGHT * 0, "linear.bias": np.ones(2, np.float32)}, "here")
    take_steps(optimizer, range(1))
    assert abs(parameters_of(optimizer)["linear.weight"]).max() == pytest.approx(0.1, rel=1e-3)


def test_gradient_norm_is_that_of_all_gradients_together():
    optimizer = make()
    optimizer.backward(squared_error(optimizer.module, X[0], Y[0]))
    norm = optimizer.gradient_norm()
    optimizer.step(0)
    moments = under_prefix("first_moment", optimizer.state()).values()  # after one step a tenth of the gradients
    assert norm == pytest.approx(10 * np.sqrt(sum((moment.astype(float) ** 2).sum() for moment in moments)), rel=1e-4)


@pytest.mark.parametrize("factor", [np.nan, np.inf, 1e30])
def test_gradient_norm_shows_what_adam_cannot_square(factor):
    optimizer = make()
    optimizer.backward((optimizer.module.linear.bias * np.float32(factor)).sum())
    assert not np.isfinite(optimizer.gradient_norm())


def test_discarded_gradients_leave_no_trace():
    optimizer, untouched = make(), make()
    take_steps(optimizer, range(1))
    optimizer.backward((optimizer.module.linear.bias * np.float32(np.nan)).sum())
    optimizer.discard()
    take_steps(optimizer, range(1, 2))
    take_steps(untouched, range(2))
    for name, value in untouched.state().items():
        np.testing.assert_array_equal(optimizer.state()[name], value)


def test_buffers_are_put_back():
    optimizer = Optimizer(nn.BatchNorm(3), lambda _: 0.1)
    before = {name: value.numpy().copy() for name, value in optimizer.module.named_parameters()}
    buffers = optimizer.buffers()
    assert buffers.keys() == {"running_mean", "running_var"}
    optimizer.module(jt.array(np.full((2, 3, 4, 4), np.nan, np.float32))).sync()
    assert np.isnan(optimizer.module.running_mean.numpy()).all()
    optimizer.restore(buffers)
    for name, value in optimizer.module.named_parameters():
        np.testing.assert_array_equal(value.numpy(), before[name])
