"""The page's settings as a config."""

from __future__ import annotations

import dataclasses

import pytest

from jiidm.config.load import load_config, with_rounds
from jiidm.errors import InputError
from jiidm.painter.order import with_settings
from jiidm.painter.preview import STEPS, preview_rounds


def own(config, **changes):
    first = config.inference.rounds[0]
    settings = {"start": first.start_timestep, "steps": first.num_steps, "guidance": first.guidance_scale}
    return {**settings, "rounds": len(config.inference.rounds), "seed": 3, **changes}


@pytest.mark.parametrize("name", ["demo", "iidm", "iidm_released", "iidm_paper", "smoke"])
def test_a_configs_own_settings_give_the_config(name):
    config = load_config(name)

    assert with_settings(config, own(config)) == dataclasses.replace(config, seed=3)


def test_later_rounds_change_in_proportion():
    config = load_config("demo")  # 640, 500, 400; 20, 15, 10 steps; guidance 2
    rounds = with_settings(config, own(config, start=320, steps=40, guidance=3)).inference.rounds

    assert [round_.start_timestep for round_ in rounds] == [320, 250, 200]
    assert [round_.num_steps for round_ in rounds] == [40, 30, 20]
    assert [round_.guidance_scale for round_ in rounds] == [3, 3, 3]
    assert [round_.color_transfer for round_ in rounds] == [False, True, True]


def test_steps_are_never_more_than_timesteps():
    config = load_config("demo")
    rounds = with_settings(config, own(config, start=3, steps=4)).inference.rounds

    assert [(round_.start_timestep, round_.num_steps) for round_ in rounds] == [(3, 4), (2, 3), (2, 2)]
    with pytest.raises(InputError, match="steps"):
        with_settings(config, own(config, start=3, steps=5))


def test_noise_levels_of_the_released_code_stay_with_its_starts():
    config = load_config("iidm_released")

    assert with_settings(config, own(config, rounds=2)).released.noise_timesteps is not None
    assert with_settings(config, own(config, start=100, steps=10)).released.noise_timesteps is None


@pytest.mark.parametrize(
    "name, steps", [("demo", [4, 3, 2]), ("iidm", None), ("iidm_paper", [4, 4, 4]), ("smoke", [3, 2])]
)
def test_a_preview_has_the_rounds_in_few_steps_that_the_schedule_can_do(name, steps):
    config = load_config(name)
    preview = preview_rounds(config)
    starts = [round_.start_timestep for round_ in config.inference.rounds]

    assert [round_.start_timestep for round_ in preview] == starts
    assert steps is None or [round_.num_steps for round_ in preview] == steps
    assert preview[0].num_steps <= STEPS
    assert with_rounds(config, preview, "the preview").inference.rounds == preview
