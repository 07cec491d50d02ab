"""The starts of configs' rounds as a table: what is left of the reference there, and what the way back costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jiidm.config import load as configs
from jiidm.config.schema import Config
from jiidm.errors import InputError
from jiidm.experiments.released import hooks_for
from jiidm.model.build import build_schedule, count_passes
from jiidm.report.tables import table
from ldm_jittor.schedules import NoiseSchedule

HEADER = ("config", "schedule", "round", "start", "noise of", "sqrt(abar)", "sampler", "steps", "passes")


def describe_starts(names: Sequence[str]) -> str:
    """A row per round, one per config, and one for its `--fast`, for shipped configs or YAML files.

    start: the first timestep of the loop. noise of: the timestep of the noise level, where it is another one.
    sqrt(abar): the share of the reference in the noised latent. passes: through the network per image, two a guided
    step.
    Raises InputError as `load_config` does, and for a GAN's config.
    """
    rows: list[tuple] = []
    for name in names:
        config = configs.load_config(name)
        if config.is_gan:
            raise InputError(f"{name} is a {config.method}, which has no rounds")
        schedule, kind = build_schedule(config.schedule), config.schedule.kind
        hooks = hooks_for(config)
        for number, round_ in enumerate(config.inference.rounds, 1):
            noised_at = hooks.noised_at(number - 1, round_.start_timestep)
            noise = "" if noised_at == round_.start_timestep else noised_at
            kept = f"{math.sqrt(schedule.alpha_bar(noised_at)):.3g}"
            cost = round_.num_steps, count_passes(round_, schedule)
            rows.append((config.name, kind, number, round_.start_timestep, noise, kept, round_.sampler, *cost))
        rows.append(_total(config, "all", schedule))
        try:
            rows.append(_total(configs.fast(config), "fast", schedule))
        except InputError:
            continue  # it has no fast rounds
    return table(rows, HEADER)


def _total(config: Config, title: str, schedule: NoiseSchedule) -> tuple:
    rounds = config.inference.rounds
    return (
        config.name,
        "",
        title,
        "",
        "",
        "",
        "",
        sum(round_.num_steps for round_ in rounds),
        sum(count_passes(round_, schedule) for round_ in rounds),
    )
