"""Parameters and GFLOP at 512x384 against figures that were counted on PyTorch's networks of the published layout."""

from __future__ import annotations

import pytest

from jiidm.baselines import build_discriminator, build_encoder, build_generator
from jiidm.baselines.cost import image_gflop, network_costs
from jiidm.config import load as configs
from jiidm.model import gflop
from jiidm.model.build import build_autoencoder, build_unet
from jiidm.size import Size

SIZE = Size(384, 512)
WIDE = dict(routing_channels=64, fc_channels=64)
GENERATORS = {
    "gaugan": (143_098_307, 865.3, ("gaugan", 64, True), {}),
    "gaugan, no VAE": (92_838_339, 865.3, ("gaugan", 64, False), {}),
    "gaugan, six upsamplings": (105_202_115, 831.2, ("gaugan", 64, True), {"upsamplings": 6}),
    "clade": (117_892_547, 252.8, ("clade", 64, True), {}),
    "clade, no VAE": (67_632_579, 252.8, ("clade", 64, False), {}),
    "clade, distance map": (67_632_579 + 108, 252.8, ("clade", 64, False), {"distance_map": True}),
    "sean": (306_605_287, 2079.9, ("sean", 64, False), {}),
    "scgan": (139_298_438, 673.6, ("scgan", 48, True), {}),
    "scgan, no VAE": (58_605_958, 361.4, ("scgan", 32, False), {}),
    "scgan, wide": (278_953_094, 1164.2, ("scgan", 64, True), WIDE),
}
DISCRIMINATORS = {
    "two scales": (5_587_074, 30.0, ("gaugan", True)),
    "two scales of sean": (1_384_578, 12.4, ("sean", True)),
    "feature pyramid": (5_174_977, 19.5, ("scgan", False)),
    "oasis": (22_250_974, 290.1, ("oasis", True)),
}


@pytest.mark.parametrize("case", GENERATORS)
def test_generators(case):
    parameters, operations, (name, channels, use_vae), options = GENERATORS[case]
    generator = build_generator(name, 29, SIZE, channels, use_vae, **options)
    assert gflop.count_parameters(generator) == parameters
    assert gflop.generator_gflop(generator) == pytest.approx(operations, rel=0.01)


@pytest.mark.parametrize("case", DISCRIMINATORS)
def test_discriminators(case):
    parameters, operations, (name, use_vae) = DISCRIMINATORS[case]
    discriminator = build_discriminator(name, 29, 64, use_vae)
    assert gflop.count_parameters(discriminator) == parameters
    assert gflop.discriminator_gflop(discriminator, SIZE) == pytest.approx(operations, rel=0.01)


def test_encoders():
    assert gflop.count_parameters(build_encoder("gaugan")) == 10_463_424
    assert gflop.encoder_gflop(build_encoder("gaugan")) == pytest.approx(2.25, rel=0.01)
    assert gflop.count_parameters(build_encoder("scgan", 48)) == 6_672_656


def test_another_discriminator_is_refused():
    with pytest.raises(TypeError, match="ImageEncoder"):
        gflop.discriminator_gflop(build_encoder("gaugan"), SIZE)


def test_a_unet_that_is_added_up_by_hand():
    """Two levels, one block each, attention at the second; channels 4 and 8, latents of 4x6 pixels."""
    config = configs.from_dict(
        {
            "data": {"size": [24, 16]},
            "autoencoder_training": {"crop_size": [16, 16]},
            "unet": {
                "model_channels": 4,
                "channel_mult": [1, 2],
                "num_res_blocks": 1,
                "attention_downsamples": [2],
                "num_head_channels": 4,
                "spade_hidden": 5,
                "norm_groups": 2,
            },
        },
        "by hand",
    )
    fine, coarse, emb = 24, 6, 16

    def conv(before, after, kernel=3):
        return before * after * kernel**2

    def attention(channels, pixels):
        return 4 * channels * channels * pixels + 2 * channels * pixels**2

    def spade(channels):
        return conv(29, 5) + 2 * conv(5, channels)

    def block(before, after, pixels):
        skip = 0 if before == after else conv(before, after, 1)
        return (conv(before, after) + conv(after, after) + skip) * pixels + emb * 2 * after

    def masked(before, after, pixels):
        return block(before, after, pixels) + (spade(before) + spade(after)) * pixels

    timestep = 4 * emb + emb * emb
    encoder = conv(3, 4) * fine + block(4, 4, fine) + block(4, 4, coarse) + block(4, 8, coarse) + attention(8, coarse)
    middle = 2 * masked(8, 8, coarse) + attention(8, coarse)
    lower = masked(16, 8, coarse) + attention(8, coarse) + masked(12, 8, coarse) + attention(8, coarse)
    doubling = block(8, 8, fine) + spade(8) * (coarse + fine)
    upper = masked(12, 4, fine) + masked(8, 4, fine) + conv(4, 6) * fine
    expected = 2 * (timestep + encoder + middle + lower + doubling + upper)
    assert gflop.unet_gflop(build_unet(config), config.latent_size) == pytest.approx(expected / 1e9, rel=1e-12)


def test_the_released_unet_takes_690_gflop_a_pass():
    config = configs.load_config("iidm")
    assert gflop.unet_gflop(build_unet(config), config.latent_size) == pytest.approx(690, rel=0.01)


def test_an_autoencoder_costs_four_times_as_much_at_twice_the_sides_but_for_its_attention():
    config = configs.load_config("demo")
    autoencoder = build_autoencoder(config.autoencoder)
    channels, pixels = 64, 48 * 64
    attention = 2 * 2 * channels * pixels**2 / 1e9
    for cost in (gflop.encode_gflop, gflop.decode_gflop):
        small, large = cost(autoencoder, Size(192, 256)), cost(autoencoder, Size(384, 512))
        assert large - 16 * attention == pytest.approx(4 * (small - attention), rel=1e-12)


class TestCosts:
    def test_a_gan_with_and_without_a_vae(self):
        assert list(network_costs(configs.load_config("gaugan"))) == ["generator", "encoder", "discriminator"]
        assert list(network_costs(configs.load_config("sean"))) == ["generator", "discriminator"]
        costs = network_costs(configs.load_config("gaugan", ["data.size=[512, 384]"]))
        assert costs["generator"].parameters == 143_098_307
        assert image_gflop(configs.load_config("gaugan")) == costs["generator"].gflop + costs["encoder"].gflop

    def test_an_image_of_the_diffusion_model_takes_every_pass_of_every_round(self):
        config = configs.load_config("iidm")
        costs = network_costs(config)
        assert costs["U-Net"].parameters == 501_540_358
        # latent-diffusion's VQ-f4
        assert costs["encoder"].parameters + costs["decoder"].parameters == 55_322_782
        passes, coding = 2 * (300 + 320 + 20), costs["encoder"].gflop + costs["decoder"].gflop
        assert image_gflop(config) == pytest.approx(passes * costs["U-Net"].gflop + 3 * coding)
        plain = configs.load_config("iidm", ["inference.rounds=[{start_timestep: 600, num_steps: 10}]"])
        assert image_gflop(plain) == pytest.approx(10 * costs["U-Net"].gflop + coding)
        part = "{start_timestep: 600, num_steps: 3, guidance_scale: 2, guidance_interval: [300, 500]}"  # 600, 400, 199
        part = configs.load_config("iidm", [f"inference.rounds=[{part}]"])
        assert image_gflop(part) == pytest.approx(4 * costs["U-Net"].gflop + coding)
