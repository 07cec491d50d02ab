"""The released code's defects that change its images, as hooks of the pipeline: configs/iidm_released.yaml has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import jittor as jt
import numpy as np

from jiidm.config.schema import Config, ReleasedConfig
from jiidm.data.images import jpeg_round_trip
from jiidm.pipeline import PLAIN, Hooks
from ldm_jittor.pixels import to_images, to_model


class Released(Hooks):
    """The released rounds are runs of a script. They hand each other JPEG files, and add noise one entry too high."""

    def __init__(self, config: ReleasedConfig):
        self.quality = config.jpeg_between_rounds
        self.noise_timesteps = config.noise_timesteps

    def between_rounds(self, x: jt.Var) -> jt.Var:
        if self.quality is None:
            return x
        return to_model(_through_files(to_images(x, np.floor), self.quality))  # it cuts the decimals off

    def recolored(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        return images if self.quality is None else _through_files(images, self.quality)

    def noised_at(self, number: int, timestep: int) -> int:
        return timestep if self.noise_timesteps is None else self.noise_timesteps[number]


def hooks_for(config: Config) -> Hooks:
    """The hooks of a config's `released` section."""
    return PLAIN if config.released == ReleasedConfig() else Released(config.released)


def _through_files(images: Iterable[np.ndarray], quality: int) -> list[np.ndarray]:
    return [jpeg_round_trip(image, quality) for image in images]
