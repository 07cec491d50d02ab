"""The autoencoders' own promises; their numbers are compared with diffusers in tests/parity."""

import jittor as jt
import numpy as np
import pytest

from jiidm.config.load import load_config
from jiidm.model.build import build_autoencoder
from ldm_jittor.autoencoder import AutoencoderKL, LatentSpace, VectorQuantizer, VQModel

TINY = {"ch": 32, "ch_mult": (1, 1, 2), "num_res_blocks": 1, "in_channels": 3, "out_ch": 3, "z_channels": 3}


def images(seed=0, batch=2):
    return jt.array(np.random.default_rng(seed).uniform(-1, 1, (batch, 3, 16, 24)).astype(np.float32))


def test_parameters_have_the_released_names_and_shapes():
    released = build_autoencoder(load_config("iidm").autoencoder)
    shapes = {name: tuple(parameter.shape) for name, parameter in released.named_parameters()}
    assert len(shapes) == 205
    assert shapes["decoder.up.0.block.0.nin_shortcut.weight"] == (128, 256, 1, 1)
    assert shapes["encoder.down.1.downsample.conv.weight"] == (256, 256, 3, 3)
    assert shapes["quantize.embedding.weight"] == (8192, 3)


def test_quantizer_takes_the_nearest_code_and_passes_gradients_straight_through():
    rng = np.random.default_rng(0)
    codes, z = rng.standard_normal((7, 3)).astype(np.float32), rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    quantizer = VectorQuantizer(7, 3)
    quantizer.embedding.weight.assign(jt.array(codes))
    flat = z.transpose(0, 2, 3, 1).reshape(-1, 3)
    nearest = ((flat[:, None] - codes[None]) ** 2).sum(-1).argmin(1)
    expected = codes[nearest].reshape(2, 4, 5, 3).transpose(0, 3, 1, 2)
    source = jt.array(z)
    quantized = quantizer(source)
    np.testing.assert_allclose(quantized.z.numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(quantized.indices.numpy().ravel(), nearest)
    assert quantized.loss.item() == pytest.approx(1.25 * np.mean((expected - z) ** 2), rel=1e-5)
    weights = rng.standard_normal(z.shape).astype(np.float32)
    gradient = jt.grad((quantized.z * jt.array(weights)).sum(), source).numpy()
    np.testing.assert_allclose(gradient, weights, rtol=1e-6)


def test_decode_quantizes_first():
    model = VQModel(TINY, n_embed=1, embed_dim=3)
    z = model.encode(images())
    assert tuple(z.shape) == (2, 3, 4, 6)
    decoded = model.decode(z).numpy()
    assert decoded.shape == (2, 3, 16, 24)
    # with a single code every latent decodes to the same picture
    np.testing.assert_allclose(decoded[0], decoded[1], atol=1e-5)
    np.testing.assert_allclose(model.decode(z * 3 + 1).numpy(), decoded, atol=1e-5)


def test_kl_divergence_and_sampling():
    model = AutoencoderKL(TINY, embed_dim=4)
    x = images()
    mean, log_variance = (value.numpy().astype(np.float64) for value in model.moments(x))
    expected = 0.5 * np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance) / 2
    noise = np.random.default_rng(1).standard_normal(mean.shape).astype(np.float32)
    reconstruction, kl = model(x, jt.array(noise))
    assert kl.item() == pytest.approx(expected, rel=1e-4)
    sample = mean + np.exp(log_variance / 2) * noise
    np.testing.assert_allclose(
        reconstruction.numpy(), model.decode(jt.array(sample.astype(np.float32))).numpy(), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(model.encode(x).numpy(), mean, rtol=1e-6)


def test_latent_space_scales_both_ways():
    model = AutoencoderKL(TINY, embed_dim=4)
    space = LatentSpace(model, 2.5)
    x = images()
    z = space.encode(x).numpy()
    np.testing.assert_allclose(z, 2.5 * model.encode(x).numpy(), rtol=1e-6)
    np.testing.assert_allclose(space.decode(jt.array(z)).numpy(), model.decode(model.encode(x)).numpy(), atol=1e-4)
