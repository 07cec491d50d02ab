"""jiidm.color against the two formulas it implements, on generated landscapes; no PyTorch is needed."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from oracle import assert_close

from jiidm.color import color_transfer
from jiidm.data.synthetic.dataset import landscape
from jiidm.size import Size

SIZE = Size(height=72, width=96)


def opencv_lab(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Channel by channel with OpenCV's own conversion, statistics and saturation, as the released code does it."""
    source, reference = (cv2.cvtColor(image, cv2.COLOR_RGB2LAB) for image in (source, reference))
    statistics = zip(*cv2.meanStdDev(source), *cv2.meanStdDev(reference))
    channels = [
        cv2.convertScaleAbs(np.maximum((channel - mean) / std * target_std + target_mean, 0))
        for channel, (mean, std, target_mean, target_std) in zip(cv2.split(source), statistics)
    ]
    return cv2.cvtColor(cv2.merge(channels), cv2.COLOR_LAB2RGB)


def reinhard_pixelwise(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Reinhard 2001, Eq. 4-12, pixel by pixel; Eq. 4 inverted by solving (its printed inverse is rounded)."""
    matrix = [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]

    def forward(image):
        for r, g, b in np.maximum(image.reshape(-1, 3), 1) / 255:
            long = math.log10(0.3811 * r + 0.5783 * g + 0.0402 * b)
            medium = math.log10(0.1967 * r + 0.7244 * g + 0.0782 * b)
            short = math.log10(0.0241 * r + 0.1288 * g + 0.8444 * b)
            yield (
                (long + medium + short) / math.sqrt(3),
                (long + medium - 2 * short) / math.sqrt(6),
                (long - medium) / math.sqrt(2),
            )

    a, b = np.array(list(forward(source))), np.array(list(forward(reference)))
    moved = (a - a.mean(0)) * (b.std(0) / a.std(0)) + b.mean(0)
    pixels = []
    for luminance, alpha, beta in moved:
        base, yellow, red = luminance / math.sqrt(3), alpha / math.sqrt(6), beta / math.sqrt(2)
        long, medium, short = (
            10 ** (base + yellow + red),
            10 ** (base + yellow - red),
            10 ** (base - 2 * yellow),
        )
        pixels.append(np.linalg.solve(matrix, (long, medium, short)))
    return np.clip(np.rint(255 * np.array(pixels)), 0, 255).reshape(source.shape)


@pytest.mark.parametrize(
    "space, formula, source", [("lab8", opencv_lab, "OpenCV"), ("lalphabeta", reinhard_pixelwise, "Reinhard's formula")]
)
def test_color_transfer_equals_its_oracle_to_the_byte(space: str, formula, source: str) -> None:
    """Bytes differ by one part in 255 or not at all."""
    pictures = [landscape(index, SIZE)[0] for index in range(6)]
    ours = [color_transfer(a, b, space=space) for a, b in zip(pictures, pictures[1:])]
    theirs = [formula(a, b) for a, b in zip(pictures, pictures[1:])]
    assert {0, 255} <= set(np.unique(ours))  # clipped at both ends
    assert_close(np.stack(ours), np.stack(theirs), f"colour transfer in {space}, bytes", source)
