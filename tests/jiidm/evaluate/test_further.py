"""What stands beside the challenge's scores in a card, with networks whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from networks import Brightness, Redness
from scored import plain

from jiidm.data import images
from jiidm.evaluate import bootstrap, metrics, neighbours
from jiidm.evaluate.further import add_further
from jiidm.evaluate.score import examine, examine_shard
from jiidm.inference import scorecard
from jiidm.system.shards import Shard

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def examined(tmp_path, jobs, real):
    found = examine(tmp_path / "out", jobs, plain(fd_name="FID", aesthetic=Redness()), real)
    (tmp_path / "out" / "_run").mkdir()
    return found, add_further(found, tmp_path / "out")


def colors(folder, suffix):
    return np.stack([images.load_image(path).mean(axis=(0, 1)) for path in sorted(folder.glob(f"*{suffix}"))])


def test_iou_and_accuracy_of_each_class(examined):
    """Three quarters of each image are predicted dark, where the mask has a half; a quarter bright."""
    card, measured = examined[0].card, examined[1]
    assert card["classes"] == {
        "mountain": {"pixels": 11 * 48 * 32, "accuracy": 100.0, "IoU": pytest.approx(200 / 3, abs=0.01)},
        "sky": {"pixels": 11 * 48 * 32, "accuracy": 50.0, "IoU": 50.0},
    }
    assert measured["mIoU"].value == pytest.approx((200 / 3 + 50) / 2)
    assert measured["mAcc"].value == pytest.approx(75)
    assert measured["mAcc"].interval == pytest.approx((75, 75))  # all images are alike


def test_the_distances_of_features_are_those_of_the_formulas(examined, tmp_path):
    card, measured = examined[0].card, examined[1]
    ours, theirs = colors(tmp_path / "out", ".jpg"), colors(tmp_path / "real", ".png")
    distance, error = metrics.kernel_distance(ours, theirs)
    assert measured["KID"].value == pytest.approx(distance, rel=1e-3)
    assert measured["KID"].interval[1] - measured["KID"].value == pytest.approx(1.96 * error, rel=1e-3)
    inside, covered = neighbours.coverage(ours, theirs)
    assert measured["precision"].value == pytest.approx(100 * inside.mean())
    assert measured["recall"].value == pytest.approx(100 * covered.mean())
    assert card["further"].keys() == {"mIoU", "mAcc", "KID", "precision", "recall"}
    assert measured["FID"].of == "11 images, 9 photos" and measured["M"].of == "11 images"


def test_features_of_a_segmenter_give_no_kid(tmp_path, jobs, real):
    found = examine(tmp_path / "out", jobs, plain(), real)
    (tmp_path / "out" / "_run").mkdir()
    measured = add_further(found, tmp_path / "out")
    assert measured.keys() == {"M", "S", "fd_seg", "mIoU", "mAcc"} and "nearest" in found.card


def test_without_photos_nothing_needs_them(tmp_path, jobs):
    found = examine(tmp_path / "out", jobs, plain(), None)
    assert add_further(found, tmp_path / "out").keys() == {"M", "S", "mIoU", "mAcc"}
    assert "nearest" not in found.card


def test_one_image_gives_no_interval(tmp_path, jobs):
    found = examine(tmp_path / "out", jobs[:1], plain(), None)
    measured = add_further(found, tmp_path / "out")
    assert measured.keys() == {"M", "S", "mIoU", "mAcc"} and found.card["intervals"] == {}
    assert all(each.interval is None for each in measured.values())


def test_every_score_has_an_interval_that_holds_it(examined):
    card, measured = examined[0].card, examined[1]
    assert card["intervals"].keys() == measured.keys() and "T" in measured
    for name, found in measured.items():
        low, high = found.interval
        assert low <= found.value + 1e-6 and found.value <= high + 1e-6, name
    similarities = np.array([image["S"] for image in card["images"].values()])
    draws = bootstrap.means(similarities, bootstrap.resamples(11))
    assert measured["S"].interval == pytest.approx(tuple(np.percentile(draws, (2.5, 97.5))), abs=0.2)
    assert measured["T"].interval[0] < measured["T"].interval[1]


def test_a_copy_is_nearest_to_its_photo_and_is_shown(tmp_path, jobs, real):
    photo = images.load_image(real / "4.png")
    images.save_jpeg(tmp_path / "out" / "m05.jpg", photo, quality=100)
    found = examine(tmp_path / "out", jobs, plain(), real)
    (tmp_path / "out" / "_run").mkdir()
    add_further(found, tmp_path / "out")
    nearest = found.card["nearest"]
    name, distance = nearest["images"]["m05"]
    assert name == "4.png" and distance == min(d for _, d in nearest["images"].values())
    assert nearest["nearer_than_any_two_photos"] >= 1
    sheet = images.load_image(tmp_path / "out" / "_run" / "nearest.jpg")
    assert sheet.shape[0] > 8 * 48


def test_the_card_can_be_saved_and_read(examined, tmp_path):
    card = examined[0].card
    scorecard.save(tmp_path / "out", card)
    assert scorecard.load(tmp_path / "out") == json.loads(json.dumps(card))


def test_shards_measure_the_same(examined, tmp_path, jobs, real):
    evaluators = plain(fd_name="FID", aesthetic=Redness())
    assert examine_shard(tmp_path / "out", jobs, evaluators, real, Shard(1, 2)) is None
    joined = examine_shard(tmp_path / "out", jobs, evaluators, real, Shard(2, 2))
    measured = add_further(joined, tmp_path / "out")
    assert measured == examined[1] and joined.card == examined[0].card


def test_networks_have_their_mapping_in_the_card(tmp_path, jobs):
    class Mapped(Brightness):
        class mapping:
            record = staticmethod(lambda: {"source": "mine.json"})

    card = examine(tmp_path / "out", jobs, plain(segmenter=Mapped()), None).card
    assert card["made_with"]["segmenter"]["mapping"] == {"source": "mine.json"}


def test_diversity_is_the_mean_of_a_measure_of_pairs(tmp_path, jobs):
    class Difference:
        name, sha256, preprocessing = "difference", "d" * 64, {}

        def chain(self, images):
            means = np.array([image.mean() for image in images])
            assert len(set(means)) == 11  # every image once
            return np.abs(np.diff(means))

    found = examine(tmp_path / "out", jobs, plain(), None)
    measured = add_further(found, tmp_path / "out", Difference())["LPIPS"]
    assert measured.of == "10 pairs" and measured.interval[0] < measured.value < measured.interval[1]
    assert found.card["made_with"]["diversity"]["sha256"] == "d" * 64
    assert found.card["further"]["LPIPS"] == pytest.approx(measured.value, abs=1e-5)
