"""What the builders refuse. What they build is compared with PyTorch in tests/parity."""

import jittor as jt
import pytest

from jiidm.baselines import build_discriminator, build_encoder, build_generator
from jiidm.errors import InputError


@pytest.mark.parametrize("name", ["gaugan", "clade", "sean", "scgan"])
@pytest.mark.parametrize("size", [(96, 100), (80, 64)])
def test_a_size_that_five_upsamplings_do_not_reach_is_refused(name, size):
    with pytest.raises(InputError, match=rf"^data\.size: {size[1]}x{size[0]} does not divide by 32"):
        build_generator(name, 29, size, 4, False)


def test_six_upsamplings_need_larger_steps():
    with pytest.raises(InputError, match="96x64 does not divide by 64"):
        build_generator("gaugan", 29, (64, 96), 4, False, upsamplings=6)


def test_other_names_are_refused():
    for build in (lambda: build_generator("pix2pix", 29, (64, 64), 4, False), lambda: build_encoder("pix2pix")):
        with pytest.raises(InputError, match="pix2pix: not one of gaugan, clade, sean, scgan"):
            build()
    with pytest.raises(InputError, match="pix2pix"):
        build_discriminator("pix2pix")


def test_sean_has_its_encoder_within_and_no_vae():
    names = [[name for name, _ in build_generator("sean", 29, (64, 64), 4, vae).named_parameters()] for vae in (0, 1)]
    assert names[0] == names[1] and "Zencoder.model.1.weight" in names[0]
    with pytest.raises(InputError, match="part of the generator"):
        build_encoder("sean")


def test_a_style_code_comes_exactly_where_it_is_used():
    segmap, z = jt.zeros((1, 29, 32, 32)), jt.zeros((1, 256))
    with pytest.raises(ValueError, match="needs a style code"):
        build_generator("gaugan", 29, (32, 32), 4, True)(segmap)
    with pytest.raises(ValueError, match="has no use"):
        build_generator("gaugan", 29, (32, 32), 4, False)(segmap, z=z)
    with pytest.raises(ValueError, match="needs a distance"):
        build_generator("clade", 29, (32, 32), 4, True, distance_map=True)(segmap, z=z)


def test_first_weights():
    """Small ones without spectral norm, and with it in SCGAN alone; ICPE starts without effect."""
    gaugan = build_generator("gaugan", 29, (32, 32), 4, False)
    wide = gaugan.conv_img.weight.numpy().std()
    assert wide == pytest.approx(0.02 * (2 / (9 * (4 + 3))) ** 0.5, rel=0.3)
    assert not gaugan.conv_img.bias.numpy().any()
    assert gaugan.head_0.conv_0.weight_orig.numpy().std() == pytest.approx((64 * 9 * 3) ** -0.5, rel=0.05)
    scgan = build_generator("scgan", 29, (32, 32), 4, False, routing_channels=4, fc_channels=4)
    scgan_std = scgan.head_0.conv_0.conv_bases[0].weight_orig.numpy().std()
    assert scgan_std == pytest.approx(0.02 * (2 / (9 * (64 + 64))) ** 0.5, rel=0.05)
    clade = build_generator("clade", 29, (32, 32), 4, False, distance_map=True)
    assert not clade.head_0.norm_0.class_specified_affine.dist_conv_w.weight.numpy().any()
    table = clade.head_0.norm_0.class_specified_affine.weight.numpy()
    assert 0 <= table.min() < 0.05 and 0.95 < table.max() <= 1


@pytest.mark.parametrize("name", ["gaugan", "sean", "scgan"])
def test_width_between_mask_and_modulation(name):
    """128 is the published one."""

    def widths(**options):
        arrays = build_generator(name, 29, (32, 32), 4, False, **options).named_parameters()
        return {value.shape[0] for key, value in arrays if key.endswith("mlp_shared.0.weight")}

    small = {"routing_channels": 4, "fc_channels": 4} if name == "scgan" else {}
    assert widths(**small) == {128} and widths(**small, spade_hidden=6) == {6}


def test_width_of_seans_style_encoder():
    encoder = build_generator("sean", 29, (32, 32), 4, False, style_channels=5, style_encoder_channels=2).Zencoder
    shapes = [list(value.shape) for name, value in encoder.named_parameters() if name.endswith("weight")]
    assert shapes == [[2, 3, 3, 3], [4, 2, 3, 3], [8, 4, 3, 3], [8, 16, 3, 3], [5, 16, 3, 3]]
