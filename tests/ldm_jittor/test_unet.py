"""The U-Net's own promises; its numbers are compared with PyTorch in tests/parity."""

import jittor as jt
import numpy as np
import pytest

from jiidm.config.load import load_config
from jiidm.model.build import build_unet
from ldm_jittor.unet import UNet


@pytest.fixture(scope="module")
def unet():
    unet = UNet(3, 32, 6, 1, (2,), (1, 2), num_classes=29, num_head_channels=32, spade_hidden=16)
    rng = np.random.default_rng(0)
    for parameter in unet.parameters():
        parameter.assign(jt.array(0.1 * rng.standard_normal(parameter.shape).astype(np.float32)))
    return unet


def segmap(seed, height=8, width=12):
    labels = np.random.default_rng(seed).integers(0, 29, (1, 1, height, width))
    return jt.array((np.arange(29)[None, :, None, None] == labels).astype(np.float32))


def latent(seed=1):
    return jt.array(np.random.default_rng(seed).standard_normal((1, 3, 8, 12)).astype(np.float32))


def test_parameters_have_the_released_names_and_shapes():
    """501.5 M parameters; names as in the released checkpoint, of which these are the unusual ones."""
    released = build_unet(load_config("iidm"))
    shapes = {name: tuple(parameter.shape) for name, parameter in released.named_parameters()}
    assert sum(parameter.numel() for parameter in released.parameters()) == 501_540_358
    assert len(shapes) == 660
    assert shapes["input_blocks.7.1.qkv.weight"] == (1536, 512, 1)
    assert shapes["middle_block.0.in_norm.mlp_shared.0.weight"] == (128, 29, 3, 3)
    assert shapes["output_blocks.2.2.out_layers.2.weight"] == (1024, 1024, 3, 3)
    assert shapes["output_blocks.11.1.in_norm.mlp_gamma.bias"] == (256,)
    assert shapes["out.2.weight"] == (6, 256, 3, 3)


def test_a_new_network_predicts_zero():
    fresh = UNet(3, 32, 6, 1, (2,), (1, 2), num_classes=29, num_head_channels=32, spade_hidden=16)
    assert (fresh(latent(), jt.array([5.0]), segmap(0)).numpy() == 0).all()


def test_mask_and_timestep_matter(unet):
    outputs = [
        unet(latent(), jt.array([t]), mask).numpy()
        for t, mask in ((5.0, segmap(0)), (5.0, segmap(2)), (600.0, segmap(0)), (5.0, jt.zeros((1, 29, 8, 12))))
    ]
    assert outputs[0].shape == (1, 6, 8, 12)
    for other in outputs[1:]:
        assert np.abs(outputs[0] - other).max() > 1e-3


def test_kept_modulations_give_the_same_output(unet):
    """Computed once, used for any timestep; also from a mask of a higher resolution."""
    fine = segmap(3, 32, 48)
    modulations = unet.modulations(fine, (8, 12))
    for t in (5.0, 600.0):
        direct = unet(latent(), jt.array([t]), fine).numpy()
        np.testing.assert_allclose(unet(latent(), jt.array([t]), modulations=modulations).numpy(), direct, atol=1e-5)
    kept = sum(scale.numel() + shift.numel() for scale, shift, *_ in modulations.values())
    assert unet.modulation_elements((8, 12)) == kept


def test_modulations_belong_to_norms_not_to_places(unet):
    z, t = latent(), jt.array([600.0])
    kept = unet.modulations(segmap(3), (8, 12))
    shuffled = dict(reversed(kept.items()))
    expected = unet(z, t, modulations=kept).numpy()
    np.testing.assert_array_equal(unet(z, t, modulations=shuffled).numpy(), expected)
    assert len(kept) == 2 * sum(type(layer).__name__ == "SPADEResBlock" for layer in unet.modules())


def test_samples_beyond_the_masks_are_under_the_null_mask(unet):
    z, t = jt.concat([latent(), latent()]), jt.array([600.0])
    guided = unet(z, t, modulations=unet.modulations(segmap(3), (8, 12), guided=True)).numpy()
    null = unet(latent(), t, jt.zeros((1, 29, 8, 12))).numpy()
    np.testing.assert_allclose(guided[0], unet(latent(), t, segmap(3)).numpy()[0], atol=1e-5)
    np.testing.assert_allclose(guided[1], null[0], atol=1e-5)
    assert np.abs(guided[0] - guided[1]).max() > 1e-2


@pytest.mark.parametrize("height, width", [(2, 4), (4, 2), (2, 2)])
def test_the_null_mask_of_maps_one_pixel_high_or_wide(unet, height, width):
    z = jt.array(np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32))
    t, mask = jt.array([600.0]), segmap(3, height, width)
    guided = unet(jt.concat([z, z]), t, modulations=unet.modulations(mask, (height, width), guided=True)).numpy()
    np.testing.assert_allclose(guided[1], unet(z, t, jt.zeros_like(mask)).numpy()[0], atol=1e-5)


def test_a_latent_that_does_not_halve_is_refused(unet):
    with pytest.raises(ValueError, match="12x9"):
        unet.modulations(segmap(0), (9, 12))
