"""What the configs that ship say."""

from __future__ import annotations

import dataclasses

import pytest
from config_files import write

from jiidm.config import load as configs

SHIPPED = sorted(path.stem for path in configs.CONFIG_DIR.glob("*.yaml"))


def test_the_shipped_configs_are_there():
    diffusion = ["demo", "demo_paper", "iidm", "iidm_paper", "iidm_released", "smoke"]
    gans = ["gaugan", "clade", "sean", "scgan"]
    rows = [f"table1_{name}" for name in (*gans, "iidm", "judge")]
    assert sorted([*diffusion, *gans, "smoke_gaugan", *rows]) == SHIPPED


def test_rows_of_the_embedded_table_see_the_same_data_and_losses():
    gaugan = configs.load_config("table1_gaugan")
    for name in ("clade", "sean", "scgan"):
        other = configs.load_config(f"table1_{name}")
        own = {key: getattr(gaugan.gan_training, key) for key in ("max_steps", "decay_steps", "adam_beta2")}
        assert other.method == name and other.data == gaugan.data and other.seed == gaugan.seed
        assert dataclasses.replace(other.gan_training, **own) == gaugan.gan_training
    iidm, judge = configs.load_config("table1_iidm"), configs.load_config("table1_judge")
    assert iidm.data == gaugan.data and not iidm.diffusion_training.distance_every
    assert judge.seed != gaugan.seed


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_load_by_name_and_by_path(name):
    config = configs.load_config(name)
    assert config.name == name
    assert configs.load_config(configs.CONFIG_DIR / f"{name}.yaml") == config


@pytest.mark.parametrize("name", SHIPPED)
def test_yaml_and_dict_round_trips(name, tmp_path):
    config = configs.load_config(name)
    assert configs.load_config(write(tmp_path, configs.to_yaml(config))) == config
    assert configs.from_dict(configs.to_dict(config), "here") == config


def test_what_the_full_size_configs_say():
    released, paper = configs.load_config("iidm"), configs.load_config("iidm_paper")
    assert released.latent_size == paper.latent_size == (96, 128)
    assert [(r.start_timestep, r.num_steps, r.sampler, r.guidance_scale) for r in released.inference.rounds] == [
        (600, 300, "ddim", 3.5),
        (640, 320, "ddim", 3.7),
        (400, 20, "ddim", 3.7),
    ]
    # the paper's T = 320 is 0-based timestep 319
    assert [(r.start_timestep, r.num_steps, r.sampler, r.guidance_scale) for r in paper.inference.rounds] == [
        (319, 320, "ddpm", 1.0)
    ] * 3
    assert [r.color_transfer for r in paper.inference.rounds] == [False, True, True]
    assert paper.schedule.kind == "paper" and paper.schedule.slope == 0.001
    assert released.unet == paper.unet and released.autoencoder == paper.autoencoder


def test_the_released_code_noises_one_entry_of_its_chain_above_its_loop():
    config = configs.load_config("iidm_released")
    chains = [(range(0, 1000, 1000 // entries), start) for entries, start in ((500, 300), (500, 320), (50, 20))]
    assert [(r.start_timestep, r.num_steps) for r in config.inference.rounds] == [
        (chain[start - 1], start) for chain, start in chains
    ]
    assert config.released.noise_timesteps == tuple(chain[start] for chain, start in chains)
    assert {r.spacing for r in config.inference.rounds} == {"linspace"}
    assert config.released.jpeg_between_rounds == 75


def test_the_released_code_and_the_mended_one_differ_in_the_defects_only():
    released, mended = (
        configs.to_dict(configs.load_config("iidm_released")),
        configs.to_dict(configs.load_config("iidm")),
    )
    inference, mended_inference = released.pop("inference"), mended.pop("inference")
    assert (released.pop("name"), mended.pop("name")) == ("iidm_released", "iidm")
    assert released.pop("released") and mended.pop("released") == dict.fromkeys(
        ("jpeg_between_rounds", "noise_timesteps")
    )
    assert released == mended
    for round_, mended_round in zip(inference.pop("rounds"), mended_inference.pop("rounds"), strict=True):
        changed = {key for key in round_ if round_[key] != mended_round[key]}
        assert changed == {"start_timestep", "spacing"}
    changed = {key for key in inference if inference[key] != mended_inference[key]}
    assert changed == {"jpeg_quality"}
