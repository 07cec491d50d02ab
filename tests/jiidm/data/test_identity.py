from __future__ import annotations

import hashlib
import json

import pytest

from jiidm.config import load as configs
from jiidm.data.identity import Difference, claim, differing, made_by, renewed, require_same, sampling
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


def first_versions_record(smoke):
    """The record of the smoke config as the first version wrote it."""
    first, second = (configs.to_dict(spec) | {"noise_timestep": None} for spec in smoke.inference.rounds)
    inference = {
        "rounds": [first, second], "clip_x0": None, "color_space": "lab8", "jpeg_between_rounds": None,
        "jpeg_quality": 95,
    }  # fmt: skip
    networks = {key: configs.to_dict(getattr(smoke, key)) for key in ("autoencoder", "unet", "schedule")}
    for key in ("norm_groups", "norm_min_channels"):
        del networks["autoencoder"][key], networks["unet"][key]
    return {"model": "a" * 64, "seed": 0, "size": [64, 48], "inference": inference, **networks}


class TestMadeBy:
    def test_folders_of_the_first_version_may_go_on(self, smoke):
        assert differing(renewed(first_versions_record(smoke)), made_by("a" * 64, smoke, 0)) == []

    def test_training_runs_of_the_first_version_may_go_on(self, smoke):
        """They keep a digest of the settings, in which the order of keys does not count."""
        inference = first_versions_record(smoke)["inference"]
        digests = {
            hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
            for settings in (inference, sampling(smoke))
        }
        assert len(digests) == 1

    @pytest.mark.parametrize(
        ("assignment", "key"),
        [
            ("inference.rounds.1.num_steps=1", "inference.rounds.1.num_steps"),
            ("inference.jpeg_quality=75", "inference.jpeg_quality"),
            ("inference.color_space=lalphabeta", "inference.color_space"),
            ("released.jpeg_between_rounds=75", "inference.jpeg_between_rounds"),
            ("released.noise_timesteps=[600, 399]", "inference.rounds.0.noise_timestep"),
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

    @pytest.mark.parametrize("record", [{}, {"seed": 0}, [], None, 3])
    def test_what_is_no_record_is_told(self, record):
        with pytest.raises((KeyError, TypeError)):
            renewed(record)
