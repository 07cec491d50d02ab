"""`examine` with networks whose answers are known."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from networks import Brightness, Redness
from scored import make_jobs, plain

from jiidm.data import images
from jiidm.errors import InputError
from jiidm.evaluate import inception, metrics
from jiidm.evaluate.score import examine, examine_shard, load_fd_network
from jiidm.inference import scorecard
from jiidm.inference.folder import OutputFolder
from jiidm.size import Size
from jiidm.system.shards import Shard

pytestmark = pytest.mark.usefixtures("cache")


def output(tmp_path, job):
    return images.load_image(tmp_path / "out" / f"{job.stem}.jpg")


class TestScores:
    def test_accuracy_is_the_share_of_pixels_as_in_the_mask(self, tmp_path, jobs):
        card = examine(tmp_path / "out", jobs, plain(), None).card
        assert card["scores"]["M"] == 75 and {image["M"] for image in card["images"].values()} == {75}
        assert sorted(card["images"]) == [job.stem for job in jobs]

    def test_accuracy_over_all_is_that_of_all_pixels(self, tmp_path):
        jobs = make_jobs(tmp_path, [Size(48, 64), Size(24, 32)])
        images.save_png(jobs[1].mask, np.full((24, 32), 5, np.uint8))  # nothing of the small image is right
        card = examine(tmp_path / "out", jobs, plain(), None).card
        assert card["scores"]["M"] == pytest.approx(75 * (64 * 48) / (64 * 48 + 32 * 24))

    def test_similarity_is_opencvs_correlation_in_percent(self, tmp_path, jobs):
        card = examine(tmp_path / "out", jobs, plain(), None).card
        for job in jobs:
            histograms = [
                cv2.calcHist([image], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3).ravel()
                for image in (output(tmp_path, job), images.load_image(job.reference))
            ]
            oracle = 100 * cv2.compareHist(*histograms, cv2.HISTCMP_CORREL)
            assert card["images"][job.stem]["S"] == pytest.approx(oracle, abs=1e-3)
        assert card["scores"]["S"] == pytest.approx(np.mean([i["S"] for i in card["images"].values()]), abs=1e-3)

    def test_distance_is_that_of_the_outputs_and_the_real_photos(self, tmp_path, jobs, real):
        card = examine(tmp_path / "out", jobs, plain(), real).card
        ours = np.stack([output(tmp_path, job).mean(axis=(0, 1)) for job in jobs])
        theirs = np.stack([images.load_image(path).mean(axis=(0, 1)) for path in real.iterdir()])
        expected = metrics.frechet_distance(*metrics.gaussian(ours), *metrics.gaussian(theirs))
        assert card["scores"]["fd_seg"] == pytest.approx(expected, rel=1e-4)
        assert "FID" not in card["scores"] and "T" not in card["scores"]

    def test_the_total_is_eq_8_where_nothing_is_missing(self, tmp_path, jobs, real):
        card = examine(tmp_path / "out", jobs, plain(fd_name="FID", aesthetic=Redness()), real).card
        scores = card["scores"]
        redness = np.mean([output(tmp_path, job)[..., 0].mean() / 2.55 for job in jobs])
        assert scores["A"] == pytest.approx(redness, abs=1e-3) and card["absent"] == {}
        expected = 0.75 * (0.2 * scores["A"] + 0.3 * (50 + scores["S"] / 2) + 0.5 * (100 - min(100, scores["FID"])))
        assert scores["T"] == pytest.approx(expected, abs=1e-3)

    @pytest.mark.parametrize("name", ["FID", "fd_seg"])
    @pytest.mark.parametrize("aesthetic", [None, Redness()])
    @pytest.mark.parametrize("photos", [False, True])
    def test_a_missing_part_makes_the_total_absent(self, tmp_path, jobs, real, name, aesthetic, photos):
        evaluators = plain(fd_name=name, aesthetic=aesthetic)
        card = examine(tmp_path / "out", jobs, evaluators, real if photos else None).card
        complete = name == "FID" and aesthetic is not None and photos
        assert ("T" in card["scores"]) == complete == ("T" not in card["absent"])
        assert card["absent"].keys() == {"A", "FID", "T"} - card["scores"].keys()

    def test_batches_hold_images_of_one_size(self, tmp_path):
        sizes = [Size(48, 64), Size(24, 32)] * 6
        jobs, network = make_jobs(tmp_path, sizes), Brightness()
        card = examine(tmp_path / "out", jobs, plain(segmenter=network), None).card
        assert sorted(network.batches) == [(6, 24, 32, 3), (6, 48, 64, 3)] and len(card["images"]) == 12

    def test_the_last_batch_counts_though_it_is_not_full(self, tmp_path, jobs):
        network = Brightness()
        examine(tmp_path / "out", jobs, plain(segmenter=network), None)
        assert [shape[0] for shape in network.batches] == [8, 3]


class TestCard:
    def test_it_says_what_was_used(self, tmp_path, jobs, real):
        used = examine(tmp_path / "out", jobs, plain(aesthetic=Redness()), real).card["made_with"]
        assert used["segmenter"] == {"name": "brightness", "sha256": "b" * 64, "preprocessing": {"resize": None}}
        assert used["aesthetic"]["name"] == "redness"
        assert used["distance"]["score"] == "fd_seg" and used["distance"]["network"]["sha256"] == "b" * 64
        assert used["distance"]["real_photos"]["count"] == 9
        assert "8 equal bins a channel" in used["histogram"] and "Pearson" in used["histogram"]

    def test_masks_and_references_are_known_by_their_content(self, tmp_path, jobs):
        def digest(jobs):
            return examine(tmp_path / "out", jobs, plain(), None).card["inputs"]["sha256"]

        other = dataclasses.replace(jobs[0], made_from=(*jobs[0].made_from[:1], "another reference"))
        assert digest(jobs) == digest(jobs[::-1]) != digest([other, *jobs[1:]])

    def test_real_photos_are_known_by_their_content(self, tmp_path, jobs, real):
        def digest():
            card = examine(tmp_path / "out", jobs, plain(), real).card
            return card["made_with"]["distance"]["real_photos"]["sha256"]

        photo = sorted(real.iterdir())[0]
        content = photo.read_bytes()
        photo.write_bytes(content + b"a")  # decodes as before
        before = digest()
        photo.write_bytes(content + b"b")
        after = digest()
        photo.rename(photo.with_name(f"!{photo.name}"))  # the first one still
        assert before != after == digest()

    def test_it_can_be_saved_and_read_again(self, tmp_path, jobs):
        card = examine(tmp_path / "out", jobs, plain(), None).card
        scorecard.save(tmp_path / "out", card)
        assert scorecard.load(tmp_path / "out") == card
        assert OutputFolder(tmp_path / "out").faults(jobs) == []


class TestFew:
    def test_a_distance_of_fewer_images_than_features_is_doubted(self, tmp_path, jobs, real):
        class Many(Brightness):
            sha256 = "c" * 64

            def features(self, batch):
                return np.repeat(super().features(batch), 4, axis=1)

        assert examine(tmp_path / "out", jobs, plain(), real).card["warnings"] == []
        (warning,) = examine(tmp_path / "out", jobs, plain(fd_network=Many()), real).card["warnings"]
        assert "fd_seg of 9 images is unreliable: 12 features need more than 12" in warning

    def test_a_single_output_has_no_distance(self, tmp_path, real):
        jobs = make_jobs(tmp_path, [Size(48, 64)])
        with pytest.raises(InputError, match=r"m00\.png: the only mask"):
            examine(tmp_path / "out", jobs, plain(), real)

    def test_outputs_of_unequal_sizes_have_no_distance(self, tmp_path, real):
        jobs = make_jobs(tmp_path, [Size(48, 64), Size(24, 32)])
        with pytest.raises(InputError, match=r"m0.\.png.*unequal sizes"):
            examine(tmp_path / "out", jobs, plain(), real)


def test_a_distance_is_fid_with_inceptions_weights_only(monkeypatch, tmp_path):
    name, network = load_fd_network(None)
    assert name == "fd_seg" and network.name == "SegFormer tiny (segmenter.safetensors)"
    monkeypatch.setattr(inception, "load", lambda *given: given)
    assert load_fd_network(tmp_path, "clean") == ("FID", (tmp_path, "clean"))


class TestShards:
    def test_the_last_part_finds_what_one_call_finds(self, tmp_path, jobs, real):
        whole = examine(tmp_path / "out", jobs, plain(), real).card
        given = tmp_path / "out", jobs, plain(), real
        (tmp_path / "out" / "_run").mkdir()
        assert examine_shard(*given, Shard(2, 3)) is None  # 11 images are two batches: part 3 is empty
        assert examine_shard(*given, Shard(3, 3)) is None
        assert examine_shard(*given, Shard(1, 3)).card == whole

    def test_each_part_sees_its_share_of_the_real_photos(self, tmp_path, jobs, real, monkeypatch):
        (tmp_path / "out" / "_run").mkdir()
        seen, found = [], None
        for number in (
            3,
            1,
            2,
        ):  # on machines that share nothing but the folder: 11 images and 9 photos, in batches of 8
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine_{number}"))
            network = Brightness()
            found = examine_shard(tmp_path / "out", jobs, plain(fd_network=network), real, Shard(number, 3))
            seen.append(network.seen)
        assert seen == [0, 8 + 8, 3 + 1]
        whole = examine(tmp_path / "out", jobs, plain(), real)
        assert found.card == whole.card
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found.reality, whole.reality))

    def test_a_part_takes_its_share_of_photos_that_the_machine_knows(self, tmp_path, jobs, real, monkeypatch):
        (tmp_path / "out" / "_run").mkdir()
        whole = examine(tmp_path / "out", jobs, plain(), real).card
        given = tmp_path / "out", jobs
        known = Brightness()
        assert examine_shard(*given, plain(fd_network=known), real, Shard(1, 2)) is None and known.seen == 8
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        assert examine_shard(*given, plain(), real, Shard(2, 2)).card == whole

    def test_a_part_of_changed_photos_does_not_count(self, tmp_path, jobs, real):
        given = tmp_path / "out", jobs, plain(), real
        (tmp_path / "out" / "_run").mkdir()
        assert examine_shard(*given, Shard(1, 2)) is None
        photo = next(real.iterdir())
        images.save_png(photo, 255 - images.load_image(photo))
        assert examine_shard(*given, Shard(2, 2)) is None
        assert examine_shard(*given, Shard(1, 2)).card == examine(*given).card

    def test_a_part_of_changed_images_does_not_count(self, tmp_path, jobs):
        given = tmp_path / "out", jobs, plain(), None
        (tmp_path / "out" / "_run").mkdir()
        assert examine_shard(*given, Shard(1, 2)) is None
        images.save_jpeg(tmp_path / "out" / f"{jobs[0].stem}.jpg", np.zeros((48, 64, 3), np.uint8))
        assert examine_shard(*given, Shard(2, 2)) is None
        assert examine_shard(*given, Shard(1, 2)).card == examine(*given).card

    def test_a_part_that_is_there_is_not_scored_again(self, tmp_path, jobs, monkeypatch):
        given = tmp_path / "out", jobs, plain(), None
        (tmp_path / "out" / "_run").mkdir()
        examine_shard(*given, Shard(1, 2))
        monkeypatch.setattr(Brightness, "predict", None)
        assert examine_shard(*given, Shard(1, 2)) is None
