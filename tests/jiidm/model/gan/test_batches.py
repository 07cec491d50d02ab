"""A sample's result does not depend on the batch it is in, so any batch size generates the same files."""

import jittor as jt
import numpy as np
import pytest

from jiidm.baselines import build_encoder, build_generator

pytestmark = pytest.mark.slow

BATCH, SIZE = 3, (64, 96)
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 29, (BATCH, 8, 12)).repeat(8, 1).repeat(8, 2)
SEGMAP = np.eye(29, dtype=np.float32)[LABELS].transpose(0, 3, 1, 2).copy()
CODES = RNG.standard_normal((BATCH, 256)).astype(np.float32)
STYLES = RNG.standard_normal((BATCH, 29, 24)).astype(np.float32)
PHOTOS = RNG.uniform(-1, 1, (BATCH, 3, *SIZE)).astype(np.float32)


def assert_same_alone(call, *inputs: np.ndarray) -> None:
    with jt.no_grad():
        together = call(*map(jt.array, inputs)).numpy()
        alone = [call(*(jt.array(value[i : i + 1]) for value in inputs)).numpy() for i in range(BATCH)]
    assert np.ptp(together) > 0
    np.testing.assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("name", ["gaugan", "clade", "scgan"])
def test_generators_with_a_vae(name):
    generator = build_generator(name, 29, SIZE, 8, True)
    generator.eval()
    assert_same_alone(lambda segmap, z: generator(segmap, z=z), SEGMAP, CODES)


def test_sean_and_its_style_codes():
    sean = build_generator("sean", 29, SIZE, 8, False, style_channels=24)
    sean.eval()
    assert_same_alone(lambda segmap, codes: sean(segmap, style_codes=codes), SEGMAP, STYLES)
    assert_same_alone(sean.style_codes, PHOTOS, SEGMAP)


def test_encoder():
    encoder = build_encoder("gaugan", 16)
    encoder.eval()
    assert_same_alone(lambda photos: jt.concat(list(encoder(photos)), dim=1), PHOTOS)
