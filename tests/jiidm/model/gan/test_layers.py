"""Layers whose gradients do not depend on which process holds which samples, against NumPy's float64 and SciPy."""

import jittor as jt
import numpy as np
import pytest
from arrays import normal

from jiidm.model.gan.layers import Conv2d, ConvTranspose2d, Linear, for_each_sample, matmul


def gradients(call, x, shared, grad_y):
    """y, and the gradients of x and of `shared`, where y has the gradient grad_y."""
    x, shared = jt.array(x), [jt.array(values) for values in shared]
    y = call(x, *shared)
    return [value.numpy() for value in (y, *jt.grad((y * jt.array(grad_y)).sum(), [x, *shared]))]


def assert_halves_add(call, x, shared):
    """A batch of four gives, to the bit, what its halves give: results one after the other, gradients as their sum."""
    grad_y = normal(*call(jt.array(x), *map(jt.array, shared)).shape, seed=5)
    whole, *halves = (gradients(call, x[part], shared, grad_y[part]) for part in (slice(4), slice(2), slice(2, 4)))
    for number, (all_four, first, second) in enumerate(zip(whole, *halves)):
        is_by_sample = number < 2
        np.testing.assert_array_equal(all_four, np.concatenate([first, second]) if is_by_sample else first + second)


def test_matmul_and_its_gradients():
    x, weight, grad_y = normal(4, 6, 5, 8), normal(6, 8, 3, seed=1), normal(4, 6, 5, 3, seed=2)
    y, grad_x, grad_weight = gradients(matmul, x, [weight], grad_y)
    np.testing.assert_allclose(y, x @ weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grad_x, grad_y @ weight.swapaxes(1, 2), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grad_weight, (x.swapaxes(2, 3) @ grad_y).sum(0), rtol=1e-4, atol=1e-5)
    assert_halves_add(matmul, x, [weight])


def test_values_for_each_sample_gather_its_gradients():
    grad_y = normal(3, 7, 2)
    values = jt.array(normal(7, 2, seed=1))
    y = for_each_sample(values, 3)
    np.testing.assert_array_equal(y.numpy(), np.stack([values.numpy()] * 3))
    gradient = jt.grad((y * jt.array(grad_y)).sum(), values).numpy()
    np.testing.assert_array_equal(gradient, grad_y[0] + (grad_y[1] + grad_y[2]))


def test_transposed_convolution_is_jittors():
    ours = ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)
    jittors = jt.nn.ConvTranspose(3, 4, 3, stride=2, padding=1, output_padding=1)
    for name in ("weight", "bias"):
        getattr(jittors, name).assign(getattr(ours, name))
    x = jt.array(normal(3, 3, 5, 6))
    np.testing.assert_allclose(ours(x).numpy(), jittors(x).numpy(), atol=1e-5)


def test_linear_map_of_a_sample_does_not_depend_on_its_batch():
    layer, x = Linear(256, 120), normal(3, 256)
    with jt.no_grad():
        together = layer(jt.array(x)).numpy()
        alone = [layer(jt.array(x[i : i + 1])).numpy() for i in range(3)]
    np.testing.assert_allclose(together, x @ layer.weight.numpy().T + layer.bias.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("kind, kernel", [(Linear, ()), (Conv2d, (3,)), (ConvTranspose2d, (3,))])
def test_gradients_of_a_batch_are_the_sums_of_those_of_its_halves(kind, kernel):
    layer = kind(6, 5, *kernel)

    def call(x, weight, bias):
        layer.weight, layer.bias = weight, bias
        return layer(x)

    x = normal(4, 6, 8, 7) if kernel else normal(4, 6)
    assert_halves_add(call, x, [layer.weight.numpy(), layer.bias.numpy()])
