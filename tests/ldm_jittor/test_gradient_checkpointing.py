"""Gradient checkpointing changes the memory a backward pass needs, not its gradients."""

import jittor as jt
import numpy as np
import pytest
from arrays import normal

from ldm_jittor.gradient_checkpointing import recomputed
from ldm_jittor.unet import UNet


def test_gradients_of_inputs_and_parameters():
    """d/dx and d/dw of sum(c * tanh(w x)) are c w sech^2 and c x sech^2."""
    x, w, c = jt.array(normal(5)), jt.array(normal(5, seed=1)), jt.array(normal(5, seed=2))
    y = recomputed(lambda x: jt.tanh(w * x), [w], x)
    np.testing.assert_allclose(y.numpy(), np.tanh(w.numpy() * x.numpy()), rtol=1e-5)
    slope = c.numpy() / np.cosh(w.numpy() * x.numpy()) ** 2
    gradients = jt.grad((y * c).sum(), [x, w])
    np.testing.assert_allclose(gradients[0].numpy(), slope * w.numpy(), rtol=1e-4)
    np.testing.assert_allclose(gradients[1].numpy(), slope * x.numpy(), rtol=1e-4)


def test_the_block_runs_again_on_the_way_back_only():
    calls = []

    def block(x):
        calls.append(1)
        return x * x

    x = jt.array(normal(3))
    y = recomputed(block, [], recomputed(block, [], x))
    y.sync()
    assert len(calls) == 2
    np.testing.assert_allclose(jt.grad(y.sum(), [x])[0].numpy(), 4 * x.numpy() ** 3, rtol=1e-4)
    assert len(calls) == 4


@pytest.mark.parametrize("learn_variance", [True, False])
def test_a_network_has_the_gradients_it_has_without(learn_variance):
    layout = dict(
        num_res_blocks=1, attention_downsamples=(2,), channel_mult=(1, 2), num_classes=4, num_head_channels=16
    )
    unet = UNet(3, 16, 6 if learn_variance else 3, **layout, spade_hidden=8, norm_min_channels=4)
    for seed, parameter in enumerate(unet.parameters()):
        parameter.assign(jt.array(normal(*parameter.shape, seed=seed)) / 4)
    x, timesteps, segmap = jt.array(normal(2, 3, 8, 8)), jt.array([3.0, 700.0]), jt.array(normal(2, 4, 8, 8, seed=1))
    target = jt.array(normal(2, unet.out_channels, 8, 8, seed=2))
    gradients = {}
    for unet.gradient_checkpointing in (False, True):
        loss = ((unet(x, timesteps, segmap) - target) ** 2).mean()
        gradients[unet.gradient_checkpointing] = [g.numpy() for g in jt.grad(loss, unet.parameters())]
    for plain, checkpointed in zip(gradients[False], gradients[True]):
        assert np.abs(plain).max() > 0
        np.testing.assert_allclose(checkpointed, plain, rtol=1e-3, atol=1e-5 * np.abs(plain).max())
