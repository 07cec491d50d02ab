"""Batch norm and spectral norm against their definitions in float64; tests/parity has PyTorch's word on them."""

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from jiidm.baselines import build_generator
from jiidm.classes import one_hot
from jiidm.model.gan.norms import BatchNorm, tanh
from jiidm.model.gan.spectral_norm import SpectralConv2d, fold_spectral_norms
from jiidm.seeding import normal


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_batch_norm_averages_the_unbiased_variance():
    norm, x = BatchNorm(3), array(2, 3, 2, 3) * 2 + 1
    out = norm(jt.array(x)).numpy()
    mean, variance = x.mean((0, 2, 3), dtype=np.float64), x.var((0, 2, 3), dtype=np.float64)
    expected = (x - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
    np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.9 + 0.1 * variance * 12 / 11, rtol=1e-5)


def test_gradient_of_batch_norm_reaches_through_the_batchs_moments():
    x, direction, step = (array(4, 3, 5, 2, seed=seed) for seed in range(3))

    def product(values):
        centred = values - values.mean((0, 2, 3), keepdims=True)
        return (centred / np.sqrt((centred**2).mean((0, 2, 3), keepdims=True) + 1e-5) * direction).sum()

    given = jt.array(x)
    gradient = jt.grad((BatchNorm(3)(given) * jt.array(direction)).sum(), given).numpy()
    expected = (product(x + 1e-4 * step.astype(np.float64)) - product(x - 1e-4 * step.astype(np.float64))) / 2e-4
    assert (gradient * step).sum() == pytest.approx(expected, rel=1e-3)


def test_batch_norm_in_evaluation_is_fixed():
    norm, x = BatchNorm(3), array(2, 3, 2, 3)
    norm.eval()
    np.testing.assert_allclose(norm(jt.array(x)).numpy(), x / np.sqrt(1 + 1e-5), rtol=1e-5)
    assert not norm.running_mean.numpy().any()


def test_spectral_norm_takes_one_power_iteration_a_forward_in_training_and_none_in_evaluation():
    conv = SpectralConv2d(3, 5, 3, padding=1)
    matrix = conv.weight_orig.numpy().reshape(5, -1).astype(np.float64)
    u = conv.weight_u.numpy().astype(np.float64)
    for _ in range(2):
        conv(jt.array(array(1, 3, 4, 4)))
        v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
        u = matrix @ v / np.linalg.norm(matrix @ v)
    np.testing.assert_allclose(conv.weight_u.numpy(), u, atol=1e-5)
    np.testing.assert_allclose(conv.weight_v.numpy(), v, atol=1e-5)
    conv.eval()
    np.testing.assert_allclose(conv.weight().numpy().reshape(5, -1), matrix / (u @ matrix @ v), atol=1e-5)
    np.testing.assert_allclose(conv.weight_u.numpy(), u, atol=1e-5)


def test_spectral_norm_really_normalises():
    conv = SpectralConv2d(6, 8, 3, padding=1)
    conv.weight_orig.assign(conv.weight_orig * 50)
    for _ in range(60):
        conv.weight().sync()
    assert np.linalg.norm(conv.weight().numpy().reshape(8, -1), 2) == pytest.approx(1, rel=1e-2)


def test_the_vectors_of_a_spectral_norm_have_no_gradient():
    conv = SpectralConv2d(3, 5, 3)
    conv.weight()
    conv.eval()
    conv.train()
    assert conv.weight_u.is_stop_grad() and conv.weight_v.is_stop_grad()
    assert not conv.weight_orig.is_stop_grad()


def test_gradient_of_tanh_where_it_is_flat():
    """Jittor's own is NaN from 45 on, and SEAN's training ended there: its style encoder's features grow that large."""
    values = np.concatenate([np.linspace(-3, 3, 50), [-1e4, -100, -60, -45, 45, 60, 100, 1e4] * 4]).astype(np.float32)
    x = jt.array(values)
    y = tanh(x)
    gradient = jt.grad((y * jt.array(np.arange(len(values), dtype=np.float32))).sum(), x).numpy()
    expected = np.arange(len(values)) * (1 - np.tanh(values.astype(np.float64)) ** 2)
    np.testing.assert_allclose(y.numpy(), np.tanh(values), atol=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


def test_style_codes_keep_a_gradient_where_features_are_large():
    generator = build_generator("sean", 29, (32, 32), 2, False, style_channels=8, style_encoder_channels=2)
    last = generator.Zencoder.model[14]
    last.weight.assign(last.weight * 1e4)
    segmap = jt.array(one_hot(np.zeros((32, 32), np.uint8))[None])
    codes = generator.style_codes(jt.array(normal((1, 3, 32, 32), "photo")), segmap)
    gradients = jt.grad(codes.sum(), [value for _, value in generator.Zencoder.named_parameters()])
    # each code is a mean over pixels of -1 and 1
    assert np.abs(codes.numpy()).max() > 0.01 and all(np.isfinite(gradient.numpy()).all() for gradient in gradients)


def test_folded_spectral_norms_do_not_change_the_result():
    x, network = jt.array(array(2, 3, 6, 5)), nn.Sequential(SpectralConv2d(3, 4, 3, padding=1), SpectralConv2d(4, 2, 1))
    network.eval()
    before, weight = network(x).numpy(), network[0].weight_orig.numpy()
    fold_spectral_norms(network)
    assert not np.allclose(network[0].weight_orig.numpy(), weight)
    for _ in range(2):
        np.testing.assert_allclose(network(x).numpy(), before, atol=1e-6)
