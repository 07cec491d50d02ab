"""A run folder's config and the history of what changed in it."""

from __future__ import annotations

import json

import pytest

from jiidm.config import load as configs
from jiidm.errors import InputError
from jiidm.train import settings
from jiidm.train.sealed import unseal

SECTIONS = ("diffusion_training", "inference")


def keep(config, folder, step, *assignments):
    return settings.keep(configs.override(config, assignments), folder, step, SECTIONS)


def test_the_first_config_is_no_change(smoke, tmp_path):
    assert keep(smoke, tmp_path, 0) == keep(smoke, tmp_path, 3) == []
    assert configs.load_saved(tmp_path / "config.yaml") == smoke and not (tmp_path / "config_history.json").exists()


def test_every_change_is_kept_and_told_in_one_line(smoke, tmp_path, caplog):
    caplog.set_level("INFO", "jiidm")
    keep(smoke, tmp_path, 0)
    keep(smoke, tmp_path, 5, "diffusion_training.learning_rate=0.5", "diffusion_training.max_steps=9")
    assert caplog.messages == [
        f"{tmp_path}: settings changed at step 5: "
        "diffusion_training.max_steps 4 -> 9, diffusion_training.learning_rate 0.0001 -> 0.5"
    ]
    changes = keep(smoke, tmp_path, 7, "diffusion_training.learning_rate=0.5")
    assert changes == [
        {
            "step": 5,
            "changed": {"diffusion_training.max_steps": [4, 9], "diffusion_training.learning_rate": [1e-4, 0.5]},
        },
        {"step": 7, "changed": {"diffusion_training.max_steps": [9, 4]}},
    ]
    kept = [unseal(entry) for entry in json.loads((tmp_path / "config_history.json").read_text())]
    assert kept == settings.read_history(tmp_path) == changes
    assert configs.load_saved(tmp_path / "config.yaml").diffusion_training.learning_rate == 0.5


def test_a_change_stands_once_though_the_run_was_killed_before_it_wrote_the_config(smoke, tmp_path):
    keep(smoke, tmp_path, 0)
    before = (tmp_path / "config.yaml").read_bytes()
    keep(smoke, tmp_path, 5, "diffusion_training.max_steps=9")
    (tmp_path / "config.yaml").write_bytes(before)
    assert len(keep(smoke, tmp_path, 5, "diffusion_training.max_steps=9")) == 1


def test_another_setting_in_a_section_that_decides_is_refused(smoke, tmp_path):
    settings.claim(smoke, tmp_path / "run", ("segmenter",))
    keep(smoke, tmp_path / "run", 0)
    with pytest.raises(InputError, match="another segmenter"):
        settings.claim(configs.override(smoke, ["segmenter.max_steps=9"]), tmp_path / "run", ("segmenter",))
    settings.claim(configs.override(smoke, ["segmenter.max_steps=9"]), tmp_path / "run", ("seed",))


def test_how_often_a_run_is_saved_decides_nothing(smoke, tmp_path):
    keep(smoke, tmp_path, 0)
    settings.claim(configs.override(smoke, ["segmenter.checkpoint_every=9"]), tmp_path, ("segmenter", "seed"))


@pytest.mark.parametrize("text", ["", "3", '{"a": 1}', '[{"step": 1}]', "[1]", "[" * 100_000])
def test_a_damaged_history_is_told(tmp_path, text):
    (tmp_path / "config_history.json").write_text(text)
    with pytest.raises(InputError, match=r"config_history\.json: not a history of settings") as caught:
        settings.read_history(tmp_path)
    assert "\n" not in str(caught.value)
