"""An autoencoder started as a thumbnail, against averaging in numpy."""

import jittor as jt
import numpy as np
import pytest

from ldm_jittor.autoencoder import AutoencoderKL, VQModel
from ldm_jittor.thumbnail_init import start_as_thumbnail

TINY = {"ch": 32, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "in_channels": 3, "out_ch": 3, "z_channels": 3}
SMALL_GROUPS = {"norm_min_channels": 4}
# 128, 256 and 512 channels: groups of 4, 8 and 16
WIDE = {**TINY, "ch": 128, "ch_mult": (1, 2, 4)}


def smooth_images():
    """[2,3,32,48] within [-1,1]: waves of a wavelength of 24 pixels or more, of their own phase in each channel."""
    y, x = np.mgrid[0:32, 0:48] / 24
    phases = np.random.default_rng(0).uniform(0, 7, (2, 3, 2, 1, 1))
    return np.sin(4 * x + phases[:, :, 0]) * np.cos(3 * y + phases[:, :, 1])


def averaged(x):
    return x.reshape(*x.shape[:2], x.shape[2] // 4, 4, x.shape[3] // 4, 4).mean((3, 5))


@pytest.mark.parametrize("shape", [TINY, WIDE], ids=["32 channels", "128 channels"])
def test_latents_are_the_average_over_four_by_four_pixels(shape):
    model, x = VQModel(shape, n_embed=4, embed_dim=3, **SMALL_GROUPS), smooth_images()
    start_as_thumbnail(model)
    with jt.no_grad():
        z = model.encode(jt.array(x.astype(np.float32))).numpy()
    # the norm divides by the deviation of colours and levels together, which is up to 3 % more than the levels' alone
    np.testing.assert_allclose(z, averaged(x), rtol=0.035, atol=2e-3)


def test_decoding_enlarges_them_smoothly():
    model, x = VQModel(TINY, n_embed=4, embed_dim=3, **SMALL_GROUPS), smooth_images()
    start_as_thumbnail(model)
    with jt.no_grad():
        copy, loss = model(jt.array(x.astype(np.float32)), None, quantize=False)
    error = np.abs(copy.numpy() - x)[:, :, 4:-4, 4:-4]
    blocks = np.abs(np.repeat(np.repeat(averaged(x), 4, 2), 4, 3) - x)[:, :, 4:-4, 4:-4]
    assert error.mean() < 0.75 * blocks.mean() and loss.item() == 0


def test_a_kl_autoencoders_mean_is_the_thumbnail():
    model, x = AutoencoderKL({**TINY, "z_channels": 4}, embed_dim=4, **SMALL_GROUPS), smooth_images()
    start_as_thumbnail(model)
    with jt.no_grad():
        z = model.encode(jt.array(x.astype(np.float32))).numpy()
    np.testing.assert_allclose(z[:, :3], averaged(x), rtol=0.035, atol=2e-3)


def test_groups_that_quadruples_do_not_fill_are_refused():
    model = VQModel(TINY, n_embed=4, embed_dim=3)  # 32 channels in 32 groups
    before = [value.numpy() for value in model.parameters()]
    with pytest.raises(ValueError, match="2 channels a group"):
        start_as_thumbnail(model)
    for value, kept in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(value.numpy(), kept)


def test_a_kl_autoencoders_posterior_starts_narrow():
    model, x = AutoencoderKL({**TINY, "z_channels": 4}, embed_dim=4, **SMALL_GROUPS), smooth_images()
    start_as_thumbnail(model)
    with jt.no_grad():
        _, log_variance = model.moments(jt.array(x.astype(np.float32)))
    np.testing.assert_allclose(np.exp(0.5 * log_variance.numpy()), 0.02, rtol=1e-5)
