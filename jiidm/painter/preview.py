"""The quick image: the first round in few steps."""

from __future__ import annotations

import dataclasses

from jiidm.config.schema import Config, Round

STEPS = 4


def preview_rounds(config: Config) -> tuple[Round, ...]:
    """The first round alone, in at most STEPS steps, by the sampler and the spacing that suit few steps."""
    first = config.inference.rounds[0]
    from_noise = config.schedule.ends_in_noise and first.start_timestep == config.schedule.num_timesteps - 1
    return (
        dataclasses.replace(
            first,
            num_steps=min(first.num_steps, STEPS),
            sampler="dpmpp_2m",
            spacing="trailing" if from_noise else "logsnr",
        ),
    )
