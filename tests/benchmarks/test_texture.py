"""Power by wavelength, of waves whose length is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.texture import WAVES, band_power

HEIGHT, WIDTH = 96, 128


def wave(length: float, amplitude: float = 40) -> np.ndarray:
    """Grey stripes of `length` pixels across, uint8 [H,W,3]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    grey = 128 + amplitude * np.sin(2 * np.pi * (0.6 * x + 0.8 * y) / length)
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize(("length", "band"), [(2.8, 0), (5.6, 1), (11, 2), (22, 3)])
def test_a_wave_has_its_power_in_its_own_band(length, band):
    power = band_power(wave(length))
    assert len(power) == len(WAVES) - 1
    assert power.argmax() == band and power[band] > 0.95 * power.sum()


def test_power_is_the_amplitude_squared():
    low, high = (band_power(wave(5.6, amplitude))[1] for amplitude in (20, 60))
    assert high / low == pytest.approx(9, rel=0.02)
