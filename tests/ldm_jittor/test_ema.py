"""The moving average against its closed form."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from ldm_jittor.ema import EMA


def model(value):
    linear = nn.Linear(1, 1)
    for parameter in linear.parameters():
        parameter.assign(jt.full(parameter.shape, value))
    return linear


def test_decay_warms_up_then_stays():
    net = model(1.0)
    ema = EMA(net, decay=0.5)
    expected = 1.0
    for n, value in enumerate([2.0, -1.0, 4.0, 8.0, 0.5, 3.0, 9.0, 1.0, 7.0, 2.0]):
        net.weight.assign(jt.full((1, 1), value))
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * value
    assert ema.state_dict()["weight"].item() == pytest.approx(expected, rel=1e-6)
    assert ema.state_dict()["bias"].item() == 1.0


def test_resumed_average_goes_on_where_it_was():
    net = model(1.0)
    one = EMA(net, 0.9)
    net.weight.assign(jt.full((1, 1), 5.0))
    one.update()
    other = EMA(model(5.0), 0.9, num_updates=one.num_updates)
    other.load_state_dict(one.state_dict())
    for ema in (one, other):
        ema.update()
    assert one.state_dict()["weight"] == other.state_dict()["weight"]


def test_model_does_not_change_the_average_behind_its_back():
    net = model(1.0)
    ema = EMA(net, 0.9)
    net.weight.assign(jt.full((1, 1), 5.0))
    assert ema.state_dict()["weight"].item() == 1.0


def test_applied_gives_the_model_back():
    net = model(1.0)
    ema = EMA(net, 0.9)
    net.weight.assign(jt.full((1, 1), 5.0))
    with pytest.raises(RuntimeError), ema.applied():
        assert net.weight.item() == 1.0
        raise RuntimeError
    np.testing.assert_array_equal(net.weight.numpy(), 5.0)


def test_missing_parameter_is_an_error():
    with pytest.raises(KeyError, match="bias"):
        EMA(model(1.0), 0.9).load_state_dict({"weight": np.zeros((1, 1), np.float32)})


def test_a_restarted_average_has_the_models_values_and_warms_up_anew():
    net = model(1.0)
    ema = EMA(net, 0.9, num_updates=7)
    net.weight.assign(jt.full((1, 1), 5.0))
    ema.restart()
    assert ema.num_updates == 0 and ema.state_dict()["weight"].item() == 5.0
    net.weight.assign(jt.full((1, 1), 6.0))
    assert ema.state_dict()["weight"].item() == 5.0
