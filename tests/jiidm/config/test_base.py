"""`base:`: a config that starts from another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from config_files import message_of

from jiidm.config import load as configs
from jiidm.errors import InputError

BEFORE = json.loads(Path(__file__).with_name("configs_0_1.json").read_text(encoding="utf-8"))
"""The shipped configs as version 0.1.0 resolved and saved them, when each file was whole."""
LONGER = {"max_steps": 10_000, "validate_every": 500, "distance_every": 2500}
SINCE = {
    "iidm": {"inference": {"fast_steps": 10}},
    "iidm_released": {"inference": {"fast_steps": 10}},
    "demo": {"diffusion_training": LONGER},
    "demo_paper": {"diffusion_training": LONGER},
}
"""What has changed in them since."""


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / f"{next(iter(texts))}.yaml"


@pytest.mark.parametrize("name", BEFORE)
def test_shipped_configs_say_what_they_said_when_each_was_whole(name):
    changed = {section: BEFORE[name][section] | settings for section, settings in SINCE.get(name, {}).items()}
    assert configs.load_config(name) == configs.from_saved(BEFORE[name] | changed, "version 0.1.0")


def test_sections_are_joined_and_lists_replaced(tmp_path):
    base = """
base: smoke
seed: 3
data: {size: [128, 96], synthetic_count: 7}
inference:
  fast_steps: 3
  rounds: [{start_timestep: 9, num_steps: 2, guidance_scale: 2.0}, {start_timestep: 9, num_steps: 1}]
"""
    variant = """
base: first.yaml
data: {synthetic_count: 8}
inference: {fast_steps: 4, rounds: [{start_timestep: 5, num_steps: 1}]}
"""
    config = configs.load_config(write(tmp_path, second=variant, first=base))
    assert (config.seed, config.data.size, config.data.synthetic_count) == (3, (96, 128), 8)
    assert config.inference.fast_steps == 4
    (only,) = config.inference.rounds
    assert (only.start_timestep, only.num_steps, only.guidance_scale) == (5, 1, 1.0)


def test_a_base_is_found_beside_its_variant_or_by_its_shipped_name(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", c="base: smoke\nseed: 5\n", b="base: ../a.yaml\nname: b\n")
    write(tmp_path, a="base: sub/c.yaml\nname: a\n")
    monkeypatch.chdir("/")
    config = configs.load_config(tmp_path / "sub" / "b.yaml")
    assert config == configs.load_config("smoke", ["seed=5", "name=b"])


def test_a_saved_variant_is_whole(tmp_path):
    config = configs.load_config(write(tmp_path, a="base: smoke\nseed: 5\n"))
    assert "base" not in configs.to_yaml(config)
    saved = write(tmp_path, saved=configs.to_yaml(config))
    assert configs.load_config(saved) == config


@pytest.mark.parametrize(
    "files, last, first",
    [
        ({"a": "base: a.yaml\n"}, "a.yaml", "a.yaml"),
        ({"a": "base: b.yaml\n", "b": "base: a.yaml\n"}, "b.yaml", "a.yaml"),
        ({"a": "base: b.yaml\n", "b": "base: c.yaml\n", "c": "base: b.yaml\n"}, "c.yaml", "b.yaml"),
    ],
    ids=["itself", "each other", "further down"],
)
def test_a_circle_of_bases_is_refused_with_both_files(tmp_path, files, last, first):
    message = message_of(configs.load_config, write(tmp_path, **files))
    told = f"{tmp_path / last}: base is '{first}', but {tmp_path / first} itself starts from {tmp_path / last}"
    assert message == told


@pytest.mark.parametrize("base", ["absent.yaml", "absent", "."])
def test_a_base_that_is_not_there_is_refused_with_both_files(tmp_path, base):
    message = message_of(configs.load_config, write(tmp_path, a=f"base: {base}\n"))
    assert message.startswith(f"{tmp_path / 'a.yaml'}: base is '{base}'") and str(tmp_path / base) in message


@pytest.mark.parametrize("base", ["3", "null", "[demo]", "{seed: 1}"])
def test_a_base_that_is_no_name_is_refused(tmp_path, base):
    assert f"{tmp_path / 'a.yaml'}: base is " in message_of(configs.load_config, write(tmp_path, a=f"base: {base}\n"))


def test_a_fault_is_told_of_the_file_that_has_it(tmp_path):
    variant = write(tmp_path, a="base: b.yaml\nseed: 1\n", b="seed: one\n")
    assert message_of(configs.load_config, variant).startswith(f"{tmp_path / 'b.yaml'}: seed is 'one'")
    variant = write(tmp_path, a="base: b.yaml\nseed: one\n", b="seed: 1\n")
    assert message_of(configs.load_config, variant).startswith(f"{tmp_path / 'a.yaml'}: seed is 'one'")
    variant = write(tmp_path, a="base: b.yaml\ndata: 3\n", b="data: {size: [64, 48]}\n")
    assert message_of(configs.load_config, variant).startswith(f"{tmp_path / 'a.yaml'}: data is 3, expected a mapping")
    # what does not go together is the variant's fault
    variant = write(tmp_path, a="base: smoke\ndata: {size: [66, 48]}\n")
    assert message_of(configs.load_config, variant).startswith(
        f"{tmp_path / 'a.yaml'}: data.size is 66x48, expected multiples of 8"
    )


def test_base_is_no_setting():
    with pytest.raises(InputError, match="--set base=demo: no such setting"):
        configs.load_config("smoke", ["base=demo"])
    with pytest.raises(InputError, match="here: unknown key base"):
        configs.from_dict({"base": "demo"}, "here")
