"""The quick image: every round in few steps. `benchmarks/speed/preview.py` compares it with other ways."""

from __future__ import annotations

import dataclasses

from jiidm.config.schema import Config, Round

STEPS = 4
"""Of the first round. The later ones have fewer or more in proportion."""


def preview_rounds(config: Config) -> tuple[Round, ...]:
    """The config's rounds in few steps each, by the sampler and the spacing that suit few steps."""
    rounds = config.inference.rounds
    share = min(1.0, STEPS / rounds[0].num_steps)
    return tuple(_hastened(round_, max(1, round(share * round_.num_steps)), config) for round_ in rounds)


def _hastened(round_: Round, steps: int, config: Config) -> Round:
    from_noise = config.schedule.ends_in_noise and round_.start_timestep == config.schedule.num_timesteps - 1
    return dataclasses.replace(
        round_, num_steps=steps, sampler="dpmpp_2m", spacing="trailing" if from_noise else "logsnr"
    )
