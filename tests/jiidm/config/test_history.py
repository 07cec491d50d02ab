from __future__ import annotations

import pytest
from config_files import message_of

from jiidm.config import history
from jiidm.config import load as configs
from jiidm.config.schema import Config, Round


def test_saved_configs_are_read_by_the_rules_of_their_time(monkeypatch):
    monkeypatch.setattr(
        history, "RENAMED", {"data.pictures": "data.synthetic_count", "unet.eps": "inference.fast_steps"}
    )
    saved = {"data": {"pictures": 7}, "unet": {"eps": 3}}
    config = configs.from_saved(saved, "old.safetensors")
    assert (config.data.synthetic_count, config.inference.fast_steps) == (7, 3)
    assert saved == {"data": {"pictures": 7}, "unet": {"eps": 3}}
    assert "unknown key data.pictures" in message_of(configs.from_dict, {"data": {"pictures": 7}}, "new.yaml")


def test_the_released_codes_defects_are_read_from_where_they_once_were():
    first, second = {"start_timestep": 598, "num_steps": 9}, {"start_timestep": 380, "num_steps": 9}
    for noised, expected in (((600, 400), (600, 400)), ((None, 400), (598, 400)), ((None, None), None)):
        rounds = [{**spec, "noise_timestep": at} for spec, at in zip((first, second), noised)]
        saved = {"inference": {"rounds": rounds, "jpeg_between_rounds": 75}}
        config = configs.from_saved(saved, "old.safetensors")
        assert config.released.jpeg_between_rounds == 75 and config.released.noise_timesteps == expected
        assert config.inference.rounds == (Round(598, 9), Round(380, 9))
        assert saved == {"inference": {"rounds": rounds, "jpeg_between_rounds": 75}} and "noise_timestep" in rounds[0]


@pytest.mark.parametrize("bound", [4.0, None])
def test_a_bound_that_was_one_for_all_rounds_is_that_of_each(bound):
    saved = {
        "inference": {"rounds": [{"start_timestep": start, "num_steps": 9} for start in (598, 380)], "clip_x0": bound}
    }
    rounds = configs.from_saved(saved, "old.safetensors").inference.rounds
    assert rounds == (Round(598, 9, clip_x0=bound), Round(380, 9, clip_x0=bound))
    assert saved["inference"]["clip_x0"] == bound and "clip_x0" not in saved["inference"]["rounds"][0]


def test_what_replaces_an_old_key_is_told(smoke):
    for given in ("inference.clip_x0=5", "inference.clip_x0=null"):
        assert message_of(configs.override, smoke, [given]).endswith("it is inference.rounds.N.clip_x0 now")
    told = message_of(configs.override, smoke, ["inference.rounds.1.noise_timestep=5"])
    assert told.endswith("it is released.noise_timesteps now")
    assert message_of(configs.override, smoke, ["inference.jpeg_between_rounds=5"]).endswith(
        "it is released.jpeg_between_rounds now"
    )


def test_group_norm_has_32_groups_but_in_files_of_a_time_without_the_setting():
    """Then groups had 4 channels at least, which was the same from 128 channels on."""
    for section, key in (("autoencoder", "channels"), ("unet", "model_channels")):
        for config, expected in (
            (Config(), (32, 1)),
            (configs.load_config("iidm"), (32, 1)),
            (configs.load_config("smoke"), (32, 4)),
            (configs.load_config("demo_paper"), (32, 4)),
            (configs.from_saved({}, "old.safetensors"), (32, 1)),
            (configs.from_saved({section: {key: 64}}, "old.safetensors"), (32, 4)),
            (configs.from_saved({section: {key: 128}}, "old.safetensors"), (32, 1)),
            (configs.from_saved({section: {key: 64, "norm_groups": 16}}, "new.safetensors"), (16, 1)),
            (configs.from_saved({section: {key: 64, "norm_min_channels": 2}}, "new.safetensors"), (32, 2)),
            (configs.from_saved({section: configs.to_dict(Config())[section]}, "new.safetensors"), (32, 1)),
        ):
            found = getattr(config, section)
            assert (found.norm_groups, found.norm_min_channels) == expected


def test_saved_groups_that_are_none_are_refused():
    for section, key in (("autoencoder", "channels"), ("unet", "model_channels")):
        assert key in message_of(configs.from_saved, {section: {key: "many"}}, "old.safetensors")


@pytest.mark.parametrize(
    "tree", [[], "text", {"data": 3}, {"data": {"size": 3}}, {"inference": {"rounds": [3]}}, {"inference": 3}]
)
def test_saved_configs_that_are_none_are_refused(tree):
    assert message_of(configs.from_saved, tree, "old.safetensors").startswith("old.safetensors: ")
