"""Layers against numpy."""

import math

import jittor as jt
import numpy as np
import pytest
from arrays import normal
from scipy.special import softmax

from ldm_jittor import layers, ops


def group_norm(x, groups=32, eps=1e-5):
    grouped = x.reshape(x.shape[0], groups, -1).astype(np.float64)
    normed = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + eps)
    return normed.reshape(x.shape)


def test_timestep_embedding_is_cosines_then_sines():
    t, half = np.array([0, 1, 999]), 8
    frequencies = 10000.0 ** (-np.arange(half) / half)
    expected = np.concatenate([np.cos(np.outer(t, frequencies)), np.sin(np.outer(t, frequencies))], axis=1)
    np.testing.assert_allclose(layers.timestep_embedding(jt.array(t), 16).numpy(), expected, atol=2e-4)


@pytest.mark.parametrize(
    "channels, setting, groups",
    [
        (32, (), 32),
        (256, (), 32),
        (96, (), 32),
        (32, (32, 4), 8),
        (96, (32, 4), 24),
        (256, (32, 4), 32),
        (48, (16,), 16),
    ],
)
def test_group_norm_equals_the_formula(channels, setting, groups):
    x = normal(2, channels, 4, 5) * 3 + 1
    norm = layers.GroupNorm(channels, layers.Groups(*setting))
    weight, bias = normal(channels, seed=1), normal(channels, seed=2)
    norm.weight.assign(jt.array(weight))
    norm.bias.assign(jt.array(bias))
    expected = group_norm(x, groups) * weight[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(norm(jt.array(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels, setting", [(16, ()), (48, ()), (100, (32, 3)), (3, (32, 4)), (30, (20,))])
def test_channels_that_do_not_divide_into_groups_are_refused(channels, setting):
    with pytest.raises(ValueError, match=f"{channels} channels do not divide"):
        layers.GroupNorm(channels, layers.Groups(*setting))
    with pytest.raises(ValueError, match=f"{channels} channels do not divide"):
        layers.SPADEGroupNorm(channels, 5, 8, layers.Groups(*setting))


def test_downsampling_averages():
    x = normal(2, 3, 4, 6)
    expected = x.reshape(2, 3, 2, 2, 3, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(layers.downsample_average(jt.array(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 3), (8, 6), (5, 7), (16, 12)])
def test_resize_nearest_takes_the_floor_pixel(size):
    x = normal(1, 2, 8, 6)
    rows, columns = (np.arange(n) * full // n for n, full in zip(size, (8, 6)))
    np.testing.assert_array_equal(layers.resize_nearest(jt.array(x), size).numpy(), x[:, :, rows][:, :, :, columns])


@pytest.mark.parametrize("chunk", [1024, 5])
def test_attention_equals_softmax(chunk, monkeypatch):
    monkeypatch.setattr(ops, "ATTENTION_CHUNK", chunk)
    q, k, v = (normal(3, 8, 12, seed=i) for i in range(3))
    weights = softmax(np.einsum("nct,ncs->nts", q, k) / math.sqrt(8), axis=-1)
    expected = np.einsum("nts,ncs->nct", weights, v)
    np.testing.assert_allclose(ops.attention(*map(jt.array, (q, k, v))).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_attention_block_splits_heads_before_q_k_v():
    x, heads, width = normal(1, 64, 2, 3), 2, 32
    block = layers.AttentionBlock(64, width)
    weight, bias = normal(192, 64, 1, seed=1) / 8, normal(192, seed=2)
    block.qkv.weight.assign(jt.array(weight))
    block.qkv.bias.assign(jt.array(bias))
    block.proj_out.weight.assign(jt.array(np.eye(64, dtype=np.float32)[:, :, None]))
    qkv = weight[:, :, 0] @ group_norm(x).reshape(64, 6) + bias[:, None]
    out = []
    for head in range(heads):
        q, k, v = qkv[head * 3 * width : (head + 1) * 3 * width].reshape(3, width, 6)
        out.append(v @ softmax(q.T @ k / math.sqrt(width), axis=-1).T)
    expected = x + np.concatenate(out).reshape(1, 64, 2, 3)
    np.testing.assert_allclose(block(jt.array(x)).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_attention_block_starts_as_the_identity():
    x = normal(1, 64, 2, 3)
    np.testing.assert_array_equal(layers.AttentionBlock(64, 32)(jt.array(x)).numpy(), x)
    with pytest.raises(ValueError, match="64 channels"):
        layers.AttentionBlock(64, 48)


def test_spade_modulates_the_norm():
    x, segmap = normal(1, 32, 4, 4), normal(1, 5, 4, 4)
    norm = layers.SPADEGroupNorm(32, 5, 8)
    modulation = norm.modulation(jt.array(segmap))
    expected = group_norm(x) * modulation.scale.numpy() + modulation.shift.numpy()
    np.testing.assert_allclose(norm(jt.array(x), modulation).numpy(), expected, rtol=1e-4, atol=1e-5)
    norm.mlp_gamma.weight.assign(jt.zeros(norm.mlp_gamma.weight.shape))
    norm.mlp_gamma.bias.assign(jt.zeros(32))
    assert (norm.modulation(jt.array(segmap)).scale.numpy() == 1).all()  # gamma = 0 leaves the norm as it is
