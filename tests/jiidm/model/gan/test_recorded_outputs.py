"""Every network against outputs of the published code for the same weights and inputs."""

from __future__ import annotations

from pathlib import Path

import jittor as jt
import numpy as np
import pytest
from gan_weights import draw

from jiidm.baselines import build_discriminator, build_encoder, build_generator

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).resolve().parents[5] / "shared" / "data" / "golden_gan"
SIZE = (96, 128)
LABELS = np.random.default_rng(11).integers(0, 29, (2, 6, 8)).repeat(16, 1).repeat(16, 2)
SEGMAP = np.eye(29, dtype=np.float32)[LABELS].transpose(0, 3, 1, 2).copy()
PHOTOS = (np.random.default_rng(12).integers(0, 256, (2, 3, *SIZE)) / 127.5 - 1).astype(np.float32)
CODES = np.random.default_rng(13).standard_normal((2, 256)).astype(np.float32)
BOTH = jt.array(np.concatenate([SEGMAP, SEGMAP])), jt.array(np.concatenate([PHOTOS[..., ::-1], PHOTOS]))
"""Mask and image for the discriminators: mirrored photos as fakes, then real ones."""


def prepared(network: jt.Module, case: str):
    """The network in evaluation mode with the recorded case's weights, and what the published one gave."""
    parameters = dict(network.named_parameters())
    for name, array in draw({name: tuple(value.shape) for name, value in parameters.items()}).items():
        parameters[name].assign(array)
    network.eval()
    return network, np.load(RECORDED / f"{case}.npz")


def assert_close(ours: jt.Var | np.ndarray, expected: np.ndarray) -> None:
    ours = np.asarray(ours.numpy() if isinstance(ours, jt.Var) else ours, np.float64)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


def assert_means(features, expected: np.ndarray) -> None:
    """Mean absolute value of each channel."""
    assert_close(np.abs(features.numpy()).mean((0, 2, 3)), expected)


@pytest.mark.parametrize("name", ["gaugan", "clade"])
def test_generator_without_vae(name):
    generator, recorded = prepared(build_generator(name, 29, SIZE, 16, False), f"{name}_novae")
    assert_close(generator(jt.array(SEGMAP)), recorded["out"])


def test_clade_with_distance_map_and_vae():
    generator, recorded = prepared(build_generator("clade", 29, SIZE, 16, True, distance_map=True), "clade_icpe_vae")
    out = generator(jt.array(SEGMAP), z=jt.array(CODES), distance=jt.array(recorded["in_dist"]))
    assert_close(out, recorded["out"])


def test_sean():
    sean, recorded = prepared(build_generator("sean", 29, SIZE, 16, False), "sean")
    segmap, photos = jt.array(SEGMAP), jt.array(PHOTOS)
    codes = sean.style_codes(photos, segmap)
    assert_close(codes, recorded["style_codes"])
    assert_close(sean.style_codes(photos, jt.array(SEGMAP[..., ::-1])), recorded["style_codes_flipped_mask"])
    assert_close(sean(segmap, style_codes=codes, noise=None), recorded["out"])
    planes = (np.random.default_rng([14, i]) for i in range(18))
    noisy = sean(segmap, codes, noise=lambda shape: jt.array(next(planes).standard_normal(shape).astype(np.float32)))
    assert_close(noisy, recorded["out_noise"])


def test_scgan_without_vae():
    narrow = dict(routing_channels=8, fc_channels=8)
    scgan, recorded = prepared(build_generator("scgan", 29, SIZE, 8, False, **narrow), "scgan_novae")
    images, auxiliary = scgan.with_auxiliary(jt.array(SEGMAP))
    assert_close(images, recorded["out"])
    assert_close(auxiliary, recorded["w_image"])


def test_encoder():
    encoder, recorded = prepared(build_encoder("gaugan", 8), "gaugan_encoder")
    mean, log_variance = encoder(jt.array(PHOTOS))
    assert_close(mean, recorded["mu"])
    assert_close(log_variance, recorded["logvar"])


@pytest.mark.parametrize("name, case", [("gaugan", "multiscale_d"), ("sean", "sean_d")])
def test_multiscale_discriminator(name, case):
    discriminator, recorded = prepared(build_discriminator(name, 29, 16), case)
    verdict = discriminator(*BOTH)
    for scale, (logits, features) in enumerate(zip(verdict.logits, verdict.features)):
        assert_close(logits, recorded[f"d{scale}_logits"])
        for number, layer in enumerate(features):
            assert_means(layer, recorded[f"d{scale}_f{number}_absmean_per_channel"])


def test_feature_pyramid_discriminator():
    discriminator, recorded = prepared(build_discriminator("scgan", 29, 16, use_vae=False), "fpse_d")
    verdict = discriminator(*BOTH)
    for number, logits in enumerate(verdict.logits):
        assert_close(logits, recorded[f"pred_{number}"])
    for number, (features,) in enumerate(verdict.features):
        assert_means(features, recorded[f"feat_{number}_absmean_per_channel"])
