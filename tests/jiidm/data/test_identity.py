from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from jiidm.config import load as configs
from jiidm.data.identity import (
    Difference,
    claim,
    differing,
    hash_files,
    made_by,
    renewed,
    require_same,
    require_unchanged,
    sampling,
    sha256,
)
from jiidm.errors import InputError


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 1, "b": [1, 2]}, {"b": [1, 2], "a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": {"b": [{"c": 1}, 5]}}, {"a": {"b": [{"c": 2}, 6]}}, [("a.b.0.c", 1, 2), ("a.b.1", 5, 6)]),
        ({"a": [1, 2]}, {"a": [1]}, [("a", [1, 2], [1])]),
        ({"a": 1, "gone": 2}, {"a": 1, "new": 3}, [("new", None, 3), ("gone", 2, None)]),
        ({"absent": None}, {}, []),
        ([1], {"a": 1}, [("", [1], {"a": 1})]),
    ],
)
def test_every_setting_that_differs_is_named_with_both_values(before, now, expected):
    assert differing(before, now) == [Difference(*found) for found in expected]


def test_the_wording_names_place_setting_values_and_advice():
    with pytest.raises(InputError) as caught:
        require_same("out", {"seed": 0, "size": [64, 48]}, {"seed": 1, "size": [64, 48]}, "choose another folder")
    assert str(caught.value) == "out: made with another seed (0, now 1); choose another folder"
    with pytest.raises(InputError, match=r"another a \(none, now x{37}\.\.\.\) and 1 more; go"):
        require_same("out", {"b": 1}, {"a": "x" * 99, "b": 2}, "go")


def test_a_hash_is_told_by_its_beginning():
    difference = Difference("model", "0123456789abcdef" * 4, "f" * 64)
    assert str(difference) == "another model (0123456789ab..., now ffffffffffff...)"


def test_files_are_known_by_their_content(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, content in zip(paths, (b"abc", b"", b"x" * 3_000_000)):
        path.write_bytes(content)
    hashes = hash_files(paths)
    assert hashes == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    require_unchanged(paths[0], hashes[paths[0]])
    paths[0].write_bytes(b"abd")
    with pytest.raises(InputError, match="a: changed while it was in use"):
        require_unchanged(paths[0], hashes[paths[0]])
    with pytest.raises(InputError, match="absent: cannot be read"):
        sha256(tmp_path / "absent")


class TestClaim:
    def test_the_first_call_records_and_later_ones_compare(self, tmp_path):
        path = tmp_path / "origin.json"
        claim(path, {"count": 3}, "choose another folder")
        claim(path, {"count": 3}, "choose another folder")
        assert json.loads(path.read_text()) == {"count": 3}
        with pytest.raises(InputError, match=r"origin\.json: made with another count \(3, now 4\); choose another"):
            claim(path, {"count": 4}, "choose another folder")
        assert json.loads(path.read_text()) == {"count": 3}

    @pytest.mark.parametrize("content", ["", "{", "\xff", "[" * 100_000])
    def test_a_damaged_record_is_named(self, tmp_path, content):
        path = tmp_path / "origin.json"
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(InputError, match=r"origin\.json: cannot be used"):
            claim(path, {"count": 4}, "choose another folder")

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match=r"origin\.json: cannot be used"):
            claim(tmp_path / "file" / "origin.json", {}, "choose another folder")


FIRST_VERSION = json.loads((Path(__file__).parent.parent / "config" / "configs_0_1.json").read_text(encoding="utf-8"))
"""The shipped configs as the first version saved them."""


def first_versions_record(tree):
    """What the first version wrote of a config into the manifest of an output folder."""
    inference = {
        k: v for k, v in tree["inference"].items() if k not in ("batch_size", "modulation_memory", "fast_steps")
    }
    networks = {key: tree[key] for key in ("autoencoder", "unet", "schedule")}
    return {"model": "a" * 64, "seed": 0, "size": tree["data"]["size"], "inference": inference, **networks}


class TestMadeBy:
    @pytest.mark.parametrize("name", FIRST_VERSION)
    def test_folders_of_the_first_version_may_go_on(self, name):
        before = first_versions_record(FIRST_VERSION[name])
        config = configs.from_saved(FIRST_VERSION[name], "a checkpoint")
        assert differing(renewed(before), made_by("a" * 64, config, 0)) == []

    @pytest.mark.parametrize("name", FIRST_VERSION)
    def test_training_runs_of_the_first_version_may_go_on(self, name):
        """They keep a digest of the settings, in which the order of keys does not count."""
        before = first_versions_record(FIRST_VERSION[name])["inference"]
        now = sampling(configs.from_saved(FIRST_VERSION[name], "a checkpoint"))
        assert json.dumps(now, sort_keys=True) == json.dumps(before, sort_keys=True)

    @pytest.mark.parametrize(
        ("assignment", "key"),
        [
            ("inference.rounds.1.num_steps=1", "inference.rounds.1.num_steps"),
            ("inference.jpeg_quality=75", "inference.jpeg_quality"),
            ("inference.color_space=lalphabeta", "inference.color_space"),
            ("inference.rounds.1.clip_x0=2", "inference.clip_x0"),
            ("inference.rounds.0.guidance_rescale=0.7", "inference.rounds.0.guidance_rescale"),
            ("inference.rounds.0.guidance_interval=[0, 400]", "inference.rounds.0.guidance_interval"),
            ("released.jpeg_between_rounds=75", "inference.jpeg_between_rounds"),
            ("released.noise_timesteps=[600, 399]", "inference.rounds.1.noise_timestep"),
            ("schedule.beta_end=0.03", "schedule.beta_end"),
            ("autoencoder.latent_scale=0.5", "autoencoder.latent_scale"),
            ("data.size=[128, 96]", "size.0"),
        ],
    )
    def test_what_changes_the_images_is_part_of_it(self, smoke, assignment, key):
        changed = configs.override(smoke, [assignment])
        found = differing(made_by("a", smoke, 0), made_by("a", changed, 0))
        assert found[0].key == key

    @pytest.mark.parametrize("key", ["batch_size=1", "modulation_memory=9", "fast_steps=3"])
    def test_what_does_not_is_none(self, smoke, key):
        changed = configs.override(smoke, [f"inference.{key}"])
        assert made_by("a", changed, 0) == made_by("a", smoke, 0)

    def test_noising_at_the_start_is_what_is_done_anyway(self, smoke):
        changed = configs.override(smoke, ["released.noise_timesteps=[600, 400]"])
        assert made_by("a", changed, 0) == made_by("a", smoke, 0)

    def test_model_seed_and_start_are_part_of_it(self, smoke):
        plain = made_by("a", smoke, 0)
        for other, key in (
            (made_by("b", smoke, 0), "model"),
            (made_by("a", smoke, 1), "seed"),
            (made_by("a", smoke, 0, from_noise=True), "from_noise"),
        ):
            assert [found.key for found in differing(plain, other)] == [key]

    def test_a_record_is_what_json_gives_back(self, smoke):
        changed = configs.override(smoke, ["released.noise_timesteps=[600, 399]"])
        record = made_by("a", changed, 0)
        assert json.loads(json.dumps(record)) == record

    def test_settings_of_a_gan_that_have_come_since_are_at_their_defaults(self):
        config = configs.load_config("smoke_gaugan")
        now = made_by("a", config, 0)
        gan = {key: value for key, value in now["gan"].items() if key != "spade_hidden"}
        assert differing(renewed({**now, "gan": gan}), now) == []
        other = made_by("a", configs.override(config, ["gan.spade_hidden=6"]), 0)
        assert [found.key for found in differing(renewed({**now, "gan": gan}), other)] == ["gan.spade_hidden"]

    @pytest.mark.parametrize("record", [{}, [], None, 3, dict.fromkeys(("autoencoder", "unet", "schedule"), 3)])
    def test_what_is_no_record_is_told(self, record):
        with pytest.raises((KeyError, TypeError, InputError)):
            renewed(record)
