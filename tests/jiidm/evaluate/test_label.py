"""Masks for a user's photos: what is written, what is skipped, and what is told."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jiidm.cli.main import main
from jiidm.data import images
from jiidm.data.pairs import find_pairs, survey
from jiidm.data.synthetic.dataset import landscape
from jiidm.errors import InputError
from jiidm.evaluate import label, segmenter
from jiidm.size import Size
from jiidm.system.shards import Shard

SIZE = Size(48, 64)


class Bright:
    """Dark is mountain, bright is sky; it is surer of brighter images. `seen` counts images."""

    sha256, preprocessing, mapping, seen = "a" * 64, {}, None, 0

    def label(self, batch):
        self.seen += len(batch)
        return (batch.mean(axis=-1) > 127).astype(np.uint8), batch.mean(axis=(1, 2, 3)) / 255


@pytest.fixture
def photos(tmp_path):
    """Eleven, more than a batch, in several formats and sizes; the first are the darkest."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(11):
        photo = np.full((60 + number, 90, 3), 20 * number, np.uint8)
        photo[:, 45:] += 50
        Image.fromarray(photo).save(folder / f"p{number:02d}{'.png' if number % 2 else '.jpg'}")
    (folder / "notes.txt").write_text("no photo")
    return folder


def label_all(photos, out, network=None, **more):
    return label.label_photos(label.find_own_photos(photos), out, network or Bright(), SIZE, **more)


def test_photos_become_a_data_folder(photos, tmp_path):
    out = tmp_path / "out"
    assert label_all(photos, out) == {}
    assert len(find_pairs(out)) == 11 and survey(out, SIZE).faults == []
    photo = images.load_image(photos / "p05.png", SIZE)
    assert np.abs(images.load_image(out / "imgs" / "p05.jpg").astype(int) - photo).mean() < 3
    np.testing.assert_array_equal(images.load_mask(out / "labels" / "p05.png"), photo.mean(axis=-1) > 127)
    found = label.summarize(label.find_own_photos(photos), out)
    assert found.survey.class_pixels.sum() == 11 * 48 * 64
    np.testing.assert_array_equal(found.survey.class_pixels, survey(out).class_pixels)
    assert found.doubtful[0] == "p00" and "p10" not in found.doubtful
    assert images.load_image(out / "contact.jpg").shape[0] > 11 * 48


def test_a_second_call_labels_what_is_missing_or_changed(photos, tmp_path):
    out, again = tmp_path / "out", Bright()
    label_all(photos, out)
    label_all(photos, out, again)
    assert again.seen == 0
    (out / "labels" / "p03.png").unlink()
    (out / "labels" / "p04.png").write_bytes((out / "labels" / "p04.png").read_bytes()[:40])
    (out / "imgs" / "p06.jpg").unlink()
    Image.fromarray(np.full((60, 90, 3), 255, np.uint8)).save(photos / "p05.png")
    label_all(photos, out, again)
    assert again.seen == 4 and len(find_pairs(out)) == 11
    assert images.load_mask(out / "labels" / "p05.png").all()


def test_shards_together_do_what_one_call_does(photos, tmp_path):
    label_all(photos, tmp_path / "whole")
    for number in (2, 1):
        assert label.summarize(label.find_own_photos(photos), tmp_path / "parts") is None
        label_all(photos, tmp_path / "parts", shard=Shard(number, 2))
    found = label.summarize(label.find_own_photos(photos), tmp_path / "parts")
    assert len(found.confidences) == 11
    for path in sorted((tmp_path / "whole").rglob("*.*g")):
        if path.name != "contact.jpg":
            assert path.read_bytes() == (tmp_path / "parts" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_another_segmenter_or_size_needs_another_folder(photos, tmp_path):
    out = tmp_path / "out"
    label_all(photos, out)
    other = Bright()
    other.sha256 = "b" * 64
    with pytest.raises(InputError, match="made with another segmenter"):
        label_all(photos, out, other)
    with pytest.raises(InputError, match="made with another size"):
        label.label_photos(label.find_own_photos(photos), out, Bright(), Size(24, 32))


def test_a_data_folder_of_another_origin_is_left_alone(photos, landscapes):
    with pytest.raises(InputError, match="holds images but no label.json"):
        label_all(photos, landscapes)


def test_photos_of_one_name_and_folders_without_any_are_refused(photos, tmp_path):
    (photos / "p05.jpg").write_bytes((photos / "p04.jpg").read_bytes())
    with pytest.raises(InputError, match=r"p05\.png: has the same name as p05\.jpg"):
        label.find_own_photos(photos)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none: no photos"):
        label.find_own_photos(tmp_path / "none")


def test_the_command_labels_the_rest_and_tells_a_damaged_photo(tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(2):
        images.save_jpeg(photos / f"{number}.jpg", landscape(number, Size(96, 128), seed=3)[0])
    (photos / "cut.jpg").write_bytes((photos / "0.jpg").read_bytes()[:700])
    given = ["data", "label", str(photos), str(out), "--size", "128x96", "--device", "cpu"]
    assert main(given) == 2
    told = capsys.readouterr()
    assert "cut.jpg" in told.err and "2 photos with masks" in told.out and "% of pixels" in told.out
    expected = segmenter.load().predict(images.load_image(photos / "1.jpg")[None])[0]
    np.testing.assert_array_equal(images.load_mask(out / "labels" / "1.png"), expected)
    (photos / "cut.jpg").unlink()
    assert main(given) == 0


def test_a_mapping_without_its_segmenter_is_refused(photos, tmp_path, refusal):
    (tmp_path / "map.json").write_text("{}")
    line = refusal(["data", "label", photos, tmp_path / "out", "--segmenter-mapping", tmp_path / "map.json"])
    assert "--segmenter-mapping" in line and "--segmenter too" in line
