"""What follows a training step, against its formulas in float64."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest

from ldm_jittor.updates import _adamw_plain, adamw, moving_average

SETTINGS = {"learning_rate": 1e-2, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.1}


def adamw_by_hand(gradient, parameter, first, second, updates):
    """Loshchilov & Hutter 2019, algorithm 2."""
    beta1, beta2 = SETTINGS["betas"]
    first = beta1 * first + (1 - beta1) * gradient
    second = beta2 * second + (1 - beta2) * gradient**2
    mean, square = first / (1 - beta1**updates), second / (1 - beta2**updates)
    step = mean / (np.sqrt(square) + SETTINGS["eps"]) + SETTINGS["weight_decay"] * parameter
    return parameter - SETTINGS["learning_rate"] * step, first, second


@pytest.mark.parametrize("shape", [(1,), (37,), (5, 7, 3, 3)], ids=str)
@pytest.mark.parametrize("updates", [1, 4])
@pytest.mark.parametrize("plain", [False, True], ids=["kernel", "operators"])
def test_adamw(shape, updates, plain, monkeypatch):
    if plain:  # what CUDA takes
        monkeypatch.setattr(
            "ldm_jittor.updates._elementwise", lambda _, arrays, __, data: _adamw_plain(*arrays, **data)
        )
    gradient, parameter, first, second = np.random.default_rng(1).standard_normal((4, *shape)).astype(np.float32)
    arrays = gradient, parameter, first, second**2
    made = adamw(*map(jt.array, arrays), updates=updates, **SETTINGS)
    wanted = adamw_by_hand(*(array.astype(np.float64) for array in arrays), updates)
    for ours, theirs in zip(made, wanted, strict=True):
        assert ours.shape == list(shape)
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-6)


def test_moving_average():
    average, value = np.random.default_rng(1).standard_normal((2, 5, 7)).astype(np.float32)
    made = moving_average(jt.array(average), jt.array(value), 0.75).numpy()
    np.testing.assert_allclose(made, 0.75 * average.astype(np.float64) + 0.25 * value, rtol=1e-6, atol=1e-7)
