from __future__ import annotations

import math

import jittor as jt
import numpy as np
import pytest

from jiidm.config import load as configs
from jiidm.config.schema import ScheduleConfig
from jiidm.model.build import build_autoencoder, build_schedule, build_unet
from ldm_jittor.autoencoder import AutoencoderKL, VQModel
from ldm_jittor.layers import GroupNorm, SPADEGroupNorm


@pytest.mark.parametrize("kind, cls", [("vq", VQModel), ("kl", AutoencoderKL)])
@pytest.mark.parametrize("mult, factor", [("[1, 1]", 2), ("[1, 1, 1]", 4)])
def test_autoencoders_have_the_configs_shapes(smoke, kind, cls, mult, factor):
    overrides = [f"autoencoder.kind={kind}", f"autoencoder.channel_mult={mult}", "autoencoder.latent_channels=5"]
    config = configs.override(smoke, overrides)
    autoencoder = build_autoencoder(config.autoencoder)
    assert type(autoencoder) is cls and config.autoencoder.downsample == factor
    with jt.no_grad():
        z = autoencoder.encode(jt.zeros((1, 3, 48, 64)))
        x = autoencoder.decode(z)
    assert tuple(z.shape) == (1, 5, 48 // factor, 64 // factor)
    assert tuple(z.shape[2:]) == config.latent_size
    assert tuple(x.shape) == (1, 3, 48, 64)


def test_the_codebook_has_the_configs_size(smoke):
    embedding = dict(build_autoencoder(smoke.autoencoder).named_parameters())["quantize.embedding.weight"]
    assert tuple(embedding.shape) == (64, 3)


@pytest.mark.parametrize("learn_variance, channels", [("true", 6), ("false", 3)])
def test_a_unet_predicts_noise_and_the_variance_if_it_learns_it(smoke, learn_variance, channels):
    unet = build_unet(configs.override(smoke, [f"unet.learn_variance={learn_variance}"]))
    with jt.no_grad():
        output = unet(jt.zeros((1, 3, 12, 16)), jt.zeros(1), jt.zeros((1, 29, 12, 16)))
    assert tuple(output.shape) == (1, channels, 12, 16)


@pytest.mark.parametrize("mult, blocks", [("[1, 2, 4]", 1), ("[2, 1, 3]", 1), ("[2, 1, 3]", 2), ("[3]", 1)])
def test_a_config_knows_the_widths_of_its_group_norms(smoke, mult, blocks):
    sections = ("autoencoder", "unet")
    settings = [f"{section}.channel_mult={mult}" for section in sections]
    settings += [f"{section}.num_res_blocks={blocks}" for section in sections]
    config = configs.override(smoke, settings)
    for section, network in (
        (config.autoencoder, build_autoencoder(config.autoencoder)),
        (config.unet, build_unet(config)),
    ):
        norms = [module for module in network.modules() if isinstance(module, (GroupNorm, SPADEGroupNorm))]
        found = {getattr(norm, "channels", None) or norm.num_channels for norm in norms}
        assert found == section.widths


def test_networks_have_the_configs_groups(smoke):
    config = configs.override(smoke, ["autoencoder.norm_groups=16", "unet.norm_groups=2", "unet.norm_min_channels=1"])
    assert build_autoencoder(config.autoencoder).decoder.norm_out.num_groups == 8  # of 4 channels
    assert build_unet(config).middle_block[0].in_norm.num_groups == 2


def test_schedules_follow_their_formulas():
    paper = build_schedule(ScheduleConfig(kind="paper", num_timesteps=500, slope=2e-3))
    np.testing.assert_allclose(paper.betas, [0.002 * t for t in range(1, 501)], rtol=1e-12)
    linear = build_schedule(ScheduleConfig(num_timesteps=11, beta_start=0.1, beta_end=0.2))
    np.testing.assert_allclose(linear.betas, [0.1 + 0.01 * t for t in range(11)], rtol=1e-12)
    cosine = build_schedule(ScheduleConfig(kind="cosine", num_timesteps=100))

    def f(t):
        return math.cos((t / 100 + 0.008) / 1.008 * math.pi / 2) ** 2

    np.testing.assert_allclose(cosine.alphas_cumprod[:99], [f(t) / f(0) for t in range(1, 100)], rtol=1e-9)
