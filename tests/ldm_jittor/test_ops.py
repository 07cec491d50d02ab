"""The kit's own operators against closed forms in float64, and their gradients against difference quotients."""

import jittor as jt
import numpy as np
import pytest
from arrays import normal
from scipy.signal import correlate2d
from scipy.special import expit, softmax

from ldm_jittor import ops


def convolve(x, weight, bias, stride, padding):
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    maps = [[sum(correlate2d(p, k, "valid") for p, k in zip(image, kernel)) for kernel in weight] for image in padded]
    return np.array(maps)[:, :, ::stride, ::stride] + (0 if bias is None else bias[:, None, None])


def group_norm(x, groups, gamma, beta, affine=None, eps=1e-5, silu=False):
    """gamma, beta [C] or like x; affine [B,2C]."""
    if gamma.ndim == 1:
        gamma, beta = gamma[:, None, None], beta[:, None, None]
    grouped = x.reshape(len(x), groups, -1).astype(np.float64)
    normed = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + eps)
    h = normed.reshape(x.shape) * gamma + beta
    if affine is not None:
        scale, shift = np.split(affine[:, :, None, None], 2, axis=1)
        h = h * (1 + scale) + shift
    return h * expit(h) if silu else h


def attend(q, k, v):
    weights = softmax(np.einsum("ncq,nck->nqk", q, k) / np.sqrt(q.shape[1]), axis=-1)
    return np.einsum("nqk,nck->ncq", weights, v)


def assert_gradients(ours, oracle, inputs, seed=9):
    """Jittor's gradients of <direction, ours(inputs)> against central differences of <direction, oracle(inputs)>."""
    direction = normal(*oracle(*inputs).shape, seed=seed)
    variables = [jt.array(values) for values in inputs]
    gradients = jt.grad((ours(*variables) * jt.array(direction)).sum(), variables)
    for i, gradient in enumerate(gradients):
        step = normal(*inputs[i].shape, seed=i).astype(np.float64)
        ahead, behind = (
            oracle(*inputs[:i], inputs[i].astype(np.float64) + sign * 1e-4 * step, *inputs[i + 1 :]) for sign in (1, -1)
        )
        expected = ((ahead - behind) * direction).sum() / 2e-4
        length = np.linalg.norm(gradient.numpy()) * np.linalg.norm(step)
        assert abs((gradient.numpy() * step).sum() - expected) < 1e-4 * length, f"input {i}"
        assert length > 0


# where the processor has AVX-512, 6x7 pixels are columns of one product, and Winograd takes the larger maps
CONVOLUTIONS = [(3, 1, 1, 32), (3, 1, 1, 13), (3, 1, 1, 6), (3, 2, 0, 9), (1, 1, 0, 5), (4, 2, 1, 8), (4, 2, 1, 40)]


@pytest.mark.parametrize("kernel, stride, padding, side", CONVOLUTIONS)
@pytest.mark.parametrize("with_bias, by_sample", [(True, False), (False, False), (True, True)])
def test_convolution_and_its_gradients_equal_scipys(kernel, stride, padding, side, with_bias, by_sample):
    x, weight, bias = normal(2, 17, side, side + 1), normal(20, 17, kernel, kernel, seed=1) / 10, normal(20, seed=2)
    inputs = [x, weight, bias] if with_bias else [x, weight]

    def ours(x, weight, bias=None):
        return ops.conv2d(x, weight, bias, stride, padding, by_sample)

    def oracle(x, weight, bias=None):
        return convolve(x, weight, bias, stride, padding)

    expected = oracle(*inputs)
    np.testing.assert_allclose(ours(*map(jt.array, inputs)).numpy(), expected, atol=2e-5 * np.abs(expected).max())
    with jt.no_grad():
        np.testing.assert_allclose(ours(*map(jt.array, inputs)).numpy(), expected, atol=2e-5 * np.abs(expected).max())
    assert_gradients(ours, oracle, inputs)


@pytest.mark.parametrize("channels, outputs", [(3, 5), (32, 40)])
def test_convolution_of_a_map_that_cuts_the_tiles_at_its_end(channels, outputs):
    # three strips of eleven tiles in a row, and the last tile of rows and of columns is cut
    x, weight, bias = normal(2, channels, 37, 130), normal(outputs, channels, 3, 3, seed=1), normal(outputs, seed=2)
    expected = convolve(x, weight, bias, 1, 1)
    with jt.no_grad():
        ours = ops.conv2d(*map(jt.array, (x, weight, bias)), padding=1).numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kernel, channels, side", [(3, 64, 32), (3, 48, 6), (1, 24, 7)])
def test_convolution_of_a_sample_does_not_depend_on_its_batch(kernel, channels, side):
    x, weight = jt.array(normal(5, channels, side, side)), jt.array(normal(32, channels, kernel, kernel, seed=1))
    with jt.no_grad():
        batch = ops.conv2d(x, weight, padding=kernel // 2).numpy()
        for i in range(5):
            np.testing.assert_array_equal(ops.conv2d(x[i : i + 1], weight, padding=kernel // 2).numpy()[0], batch[i])


@pytest.mark.parametrize("kernel, channels, side", [(3, 64, 32), (3, 48, 6), (1, 24, 7)])
def test_gradients_by_sample_of_a_batch_are_the_sum_of_those_of_its_halves(kernel, channels, side):
    """To the bit: so processes that each hold a half get what one process gets."""
    x, grad_y = normal(4, channels, side, side), normal(4, 32, side, side, seed=3)
    weight, bias = jt.array(normal(32, channels, kernel, kernel, seed=1)), jt.array(normal(32, seed=2))

    def gradients(part):
        given, direction = jt.array(x[part]), jt.array(grad_y[part])
        y = ops.conv2d(given, weight, bias, padding=kernel // 2, by_sample=True)
        return [y.numpy(), *(grad.numpy() for grad in jt.grad((y * direction).sum(), [given, weight, bias]))]

    whole, first, second = map(gradients, (slice(4), slice(2), slice(2, 4)))
    for of_samples in range(2):  # the result, and the gradient of the image
        both = np.concatenate([first[of_samples], second[of_samples]])
        np.testing.assert_array_equal(whole[of_samples], both)
    for of_batch in range(2, 4):
        np.testing.assert_array_equal(whole[of_batch], first[of_batch] + second[of_batch])


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_channel_sums_add_halves_of_the_batch(samples):
    x = normal(samples, 5, 33, 7) + 100
    sums = ops.channel_sums(jt.array(x)).numpy()
    np.testing.assert_allclose(sums, x.sum((0, 2, 3), dtype=np.float64), rtol=1e-6)
    if samples > 1:
        halves = [ops.channel_sums(jt.array(half)).numpy() for half in (x[: samples // 2], x[samples // 2 :])]
        np.testing.assert_array_equal(sums, halves[0] + halves[1])


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("rows, masks", [(3, 0), (1, 0), (0, 0), (3, 3), (1, 3), (0, 3)])
def test_group_norm_and_its_gradients_equal_the_formula(rows, masks, silu):
    of_mask = (3, 8, 5, 6) if masks else (8,)
    inputs = [normal(3, 8, 5, 6) * 2 + 1, normal(*of_mask, seed=3), normal(*of_mask, seed=4)]
    inputs += [normal(rows, 16, seed=1)] if rows else []

    def ours(x, *of_channels):
        return ops.group_norm(x, 2, *of_channels, silu=silu)

    def oracle(x, gamma, beta, *affine):
        return group_norm(x, 2, gamma, beta, *(np.broadcast_to(row, (3, 16)) for row in affine), silu=silu)

    np.testing.assert_allclose(ours(*map(jt.array, inputs)).numpy(), oracle(*inputs), rtol=1e-4, atol=1e-5)
    assert_gradients(ours, oracle, inputs)


def test_group_norm_gradient_of_a_large_map():
    """More pixels a channel than are summed in one go."""
    inputs = [normal(1, 2, 65, 64), normal(2, seed=1), normal(2, seed=2)]

    def ours(x, gamma, beta):
        return ops.group_norm(x, 1, gamma, beta, silu=True)

    def oracle(x, gamma, beta):
        return group_norm(x, 1, gamma, beta, silu=True)

    assert_gradients(ours, oracle, inputs)


def test_group_norm_has_a_large_mean_taken_off_exactly():
    """Where E[x^2] - E[x]^2 has lost every digit."""
    x, ones, zeros = normal(1, 4, 30, 40) + 3000, np.ones(4, np.float32), np.zeros(4, np.float32)
    ours = ops.group_norm(jt.array(x), 1, jt.array(ones), jt.array(zeros)).numpy()
    np.testing.assert_allclose(ours, group_norm(x, 1, ones, zeros), atol=2e-3)


def test_silu_of_values_beyond_what_an_exponential_can_hold():
    x = np.array([-1e30, -200, -88, -20, -1e-3, 0, 1e-3, 20, 88, 200, 1e30], np.float32)
    row = jt.array(np.zeros((1, 11, 2, 2), np.float32))
    ours = ops.group_norm(row, 1, jt.zeros(11), jt.array(x), silu=True).numpy()[0, :, 0, 0]
    np.testing.assert_allclose(ours, x * expit(x.astype(np.float64)), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("with_affine", [True, False])
@pytest.mark.parametrize("sides", [(5, 6), (2, 3), (3, 2), (4, 40)])
def test_samples_beyond_the_masks_take_the_null_masks_corners_edges_and_middle(sides, with_affine):
    x, affine = normal(3, 4, *sides), normal(1, 8, seed=1) if with_affine else None
    gamma, beta, null_gamma, null_beta = (
        normal(n, 4, *shape, seed=seed) for seed, (n, shape) in enumerate([(2, sides)] * 2 + [(1, (3, 3))] * 2)
    )
    places = [[0] + [1] * (side - 2) + [2] for side in sides]
    full = [
        np.concatenate([maps, null[:, :, places[0]][:, :, :, places[1]]])
        for maps, null in ((gamma, null_gamma), (beta, null_beta))
    ]
    expected = group_norm(x, 1, *full, None if affine is None else np.repeat(affine, 3, 0), silu=True)
    null = jt.array(null_gamma), jt.array(null_beta)
    affine = None if affine is None else jt.array(affine)
    ours = ops.group_norm(jt.array(x), 1, jt.array(gamma), jt.array(beta), affine, null, silu=True)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_samples_without_a_mask_are_refused():
    x = jt.array(normal(3, 4, 5, 6))
    with pytest.raises(ValueError, match="2 masks for 3 samples"):
        ops.group_norm(x, 1, x[:2], x[:2])


def test_upsampling_repeats_and_its_gradient_sums():
    x, grad_y = normal(2, 3, 4, 5), normal(2, 3, 8, 10, seed=1)
    var = jt.array(x)
    y = ops.upsample_nearest(var)
    np.testing.assert_array_equal(y.numpy(), x.repeat(2, 2).repeat(2, 3))
    grad = jt.grad((y * jt.array(grad_y)).sum(), var).numpy()
    expected = sum(grad_y[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
    np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chunk, keys", [(256, 12), (5, 12), (5, 7)])
def test_attention_and_its_gradients_equal_softmax(chunk, keys, monkeypatch):
    monkeypatch.setattr(ops, "ATTENTION_CHUNK", chunk)
    inputs = [normal(3, 8, 12), normal(3, 8, keys, seed=1), normal(3, 8, keys, seed=2)]
    for ours in (ops.attention, ops._attention_plain):
        np.testing.assert_allclose(ours(*map(jt.array, inputs)).numpy(), attend(*inputs), rtol=1e-4, atol=1e-5)
        assert_gradients(ours, attend, inputs)


@pytest.mark.parametrize("chunk", [256, 5])
@pytest.mark.parametrize("plain", [False, True])
def test_self_attention_and_its_gradient_equal_softmax(chunk, plain, monkeypatch):
    monkeypatch.setattr(ops, "ATTENTION_CHUNK", chunk)
    if plain:
        monkeypatch.setattr(ops, "_onednn_include", lambda: "")
    qkv = normal(4, 3, 8, 12)
    expected = attend(*qkv.transpose(1, 0, 2, 3))
    np.testing.assert_allclose(ops.self_attention(jt.array(qkv)).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert_gradients(ops.self_attention, lambda qkv: attend(qkv[:, 0], qkv[:, 1], qkv[:, 2]), [qkv])


@pytest.mark.parametrize(
    "call",
    [
        lambda a: ops.conv2d(a(1, 5, 8, 8), a(4, 3, 3, 3)),
        lambda a: ops.group_norm(a(2, 8, 4, 4), 2, a(4), a(4)),
        lambda a: ops.group_norm(a(3, 8, 4, 4), 2, a(8), a(8), a(2, 16)),
        lambda a: ops.group_norm(a(3, 8, 4, 4), 2, a(8), a(8), a(1, 8)),
        lambda a: ops.group_norm(a(1, 8, 16, 16), 2, a(1, 8, 4, 4), a(1, 8, 4, 4)),
        lambda a: ops.group_norm(a(1, 9, 4, 4), 2, a(9), a(9)),
        lambda a: ops.attention(a(1, 64, 5), a(1, 8, 5), a(1, 8, 5)),
        lambda a: ops.self_attention(a(1, 2, 8, 5)),
    ],
)
def test_shapes_that_do_not_agree_are_refused(call):
    with pytest.raises(ValueError, match="shapes that do not agree"):
        call(lambda *shape: jt.array(normal(*shape)))
