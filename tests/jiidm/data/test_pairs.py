from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jiidm.data import images
from jiidm.data import pairs as data
from jiidm.data.pairs import Pair
from jiidm.errors import InputError
from jiidm.size import Size

STEMS = ("a", "b", "c")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "imgs").mkdir()
    (tmp_path / "labels").mkdir()
    rng = np.random.default_rng(0)
    for value, stem in enumerate(STEMS):
        images.save_jpeg(tmp_path / "imgs" / f"{stem}.jpg", rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        images.save_png(tmp_path / "labels" / f"{stem}.png", np.full((6, 8), value, np.uint8))
    return tmp_path


def made_up_pairs(count, start=0):
    return [Pair(f"p{i}", Path(f"p{i}.jpg"), Path(f"p{i}.png")) for i in range(start, start + count)]


def test_pairs_are_sorted_by_stem(root):
    pairs = data.find_pairs(root)
    assert pairs == [Pair(s, root / "imgs" / f"{s}.jpg", root / "labels" / f"{s}.png") for s in STEMS]


@pytest.mark.parametrize("name", ["._a.jpg", "Thumbs.db", "desktop.ini"])
def test_hidden_and_system_files_are_left_out(root, name):
    (root / "imgs" / name).write_text("x")
    assert len(data.find_pairs(root)) == 3 and data.survey(root).faults == []


def test_partners_agree_across_unicode_forms_and_capitals(root):
    apart = unicodedata.normalize("NFD", "été")
    (root / "imgs" / "a.jpg").rename(root / "imgs" / f"{apart}.JPG")
    (root / "labels" / "a.png").rename(root / "labels" / "été.PNG")
    pairs = data.find_pairs(root)
    assert [pair.stem for pair in pairs] == ["b", "c", apart] and pairs[2].label.name == "été.PNG"
    assert data.survey(root).faults == []
    data.write_split(root, pairs, [], seed=0)
    (root / "train.txt").write_text("été\n")
    assert data.read_split(root, pairs)[0] == [pairs[2]]


def test_pairs_need_both_partners_and_both_folders(root):
    (root / "labels" / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.jpg: no mask b\.png"):
        data.find_pairs(root)
    with pytest.raises(InputError, match="missing/imgs"):
        data.find_pairs(root / "missing")
    for path in (*root.glob("imgs/*"), *root.glob("labels/*")):
        path.unlink()
    with pytest.raises(InputError, match="no pairs"):
        data.find_pairs(root)
    assert [fault.message for fault in data.survey(root).faults] == ["no pairs imgs/<stem>.jpg, labels/<stem>.png"]


def test_a_clean_folder_has_no_faults_and_is_counted(root):
    survey = data.survey(root, size=Size(6, 8))
    assert survey.faults == [] and survey.num_pairs == 3 and survey.sizes == {(6, 8): 3}
    assert survey.class_pixels.tolist() == [48, 48, 48] + [0] * 26
    assert survey.class_shares() == [("mountain", 1 / 3), ("sky", 1 / 3), ("water", 1 / 3)]


def _delete_mask(root):
    (root / "labels" / "b.png").unlink()
    return "imgs/b.jpg", "no mask"


def _delete_image(root):
    (root / "imgs" / "b.jpg").unlink()
    return "labels/b.png", "no image"


def _add_foreign_file(root):
    (root / "imgs" / "b.jpeg").write_text("x")
    return "imgs/b.jpeg", "*.jpg"


def _truncate_image(root):
    images.save_jpeg(root / "imgs" / "b.jpg", np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    os.truncate(root / "imgs" / "b.jpg", 2000)
    return "imgs/b.jpg", "cannot be read"


def _empty_mask(root):
    (root / "labels" / "b.png").write_bytes(b"")
    return "labels/b.png", "empty file"


def _rgb_mask(root):
    Image.new("RGB", (8, 6)).save(root / "labels" / "b.png")
    return "labels/b.png", "mode RGB"


def _label_out_of_range(root):
    images.save_png(root / "labels" / "b.png", np.full((6, 8), 255, np.uint8))
    return "labels/b.png", "label 255"


def _two_of_a_name(root):
    (root / "labels" / "b.PNG").write_bytes((root / "labels" / "b.png").read_bytes())
    return "labels/b.png", "the same name as b.PNG"


def _misaligned(root):
    images.save_png(root / "labels" / "b.png", np.zeros((8, 6), np.uint8))
    return "labels/b.png", "size 6x8, its image 8x6"


FAULTS = [
    _delete_mask,
    _delete_image,
    _add_foreign_file,
    _truncate_image,
    _empty_mask,
    _two_of_a_name,
    _rgb_mask,
    _label_out_of_range,
    _misaligned,
]


@pytest.mark.parametrize("damage", FAULTS)
def test_each_fault_is_found_and_named_once(root, damage):
    name, message = damage(root)
    (fault,) = data.survey(root).faults
    assert fault.path == root / name and message in fault.message
    assert str(fault) == f"{root / name}: {fault.message}" and str(root) not in fault.message


def test_names_with_odd_line_ends_survive_a_split(root):
    for folder, suffix in (("imgs", ".jpg"), ("labels", ".png")):
        (root / folder / f"b{suffix}").rename(root / folder / f"b\u2028\x85\x0b{suffix}")
    pairs = data.find_pairs(root)
    data.write_split(root, pairs[:2], pairs[2:], seed=0)
    assert data.read_split(root, pairs) == (pairs[:2], pairs[2:])
    for name in ("train.txt", "val.txt"):  # edited on Windows
        (root / name).write_bytes((root / name).read_bytes().replace(b"\n", b"\r\n"))
    assert data.read_split(root, pairs) == (pairs[:2], pairs[2:])
    data.write_split(root, pairs, [], seed=0)
    assert data.read_split(root, pairs) == (pairs, [])


def test_a_name_that_is_no_text_is_a_fault_that_can_be_printed(root):
    """As unzip leaves Chinese names of Windows."""
    for folder, suffix in (("imgs", ".jpg"), ("labels", ".png")):
        (root / folder / f"b{suffix}").rename(root / folder / os.fsdecode(b"\xb7\xe7" + suffix.encode()))
    faults = data.survey(root).faults
    assert [str(fault).encode() for fault in faults] and all("not UTF-8" in fault.message for fault in faults)
    assert len(faults) == 2
    with pytest.raises(InputError, match=r"imgs/\\udcb7\\udce7\.jpg: .* \(2 such in all"):
        data.find_pairs(root)


def test_all_faults_are_reported_together(root):
    (root / "imgs" / "extra.txt").write_text("x")
    (root / "imgs" / "a.jpg").unlink()
    images.save_png(root / "labels" / "a.png", np.full((6, 8), 29, np.uint8))
    (root / "imgs" / "b.jpg").write_bytes(b"")
    images.save_png(root / "labels" / "c.png", np.zeros((8, 6), np.uint8))
    assert {(fault.path.name, fault.message.split()[0]) for fault in data.survey(root).faults} == {
        ("extra.txt", "only"),
        ("a.png", "no"),
        ("a.png", "label"),
        ("b.jpg", "empty"),
        ("c.png", "size"),
    }


def test_an_unexpected_size_is_a_fault_of_both_files(root):
    faults = data.survey(root, size=Size(8, 6)).faults
    assert len(faults) == 6 and all(fault.message == "size 8x6, expected 6x8" for fault in faults)


def test_the_split_is_a_partition_of_about_the_fraction():
    pairs = made_up_pairs(2000)
    train, validation = data.split(pairs, 0.1, seed=3)
    assert sorted(train + validation, key=pairs.index) == pairs and not set(train) & set(validation)
    assert 150 < len(validation) < 250  # binomial, mean 200, deviation 13
    assert data.split(pairs, 0.1, seed=3) == (train, validation)
    assert data.split(pairs, 0.1, seed=4) != (train, validation)


def test_adding_files_moves_no_other_between_the_sets():
    few, many = made_up_pairs(300), made_up_pairs(600)
    validation_before, validation_after = data.split(few, 0.2, 0)[1], data.split(many, 0.2, 0)[1]
    assert validation_before == [pair for pair in validation_after if pair in few]


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_both_sets_get_a_pair_when_there_are_two(fraction):
    for count in (2, 5):
        train, validation = data.split(made_up_pairs(count), fraction, 0)
        assert train and validation and len(train) + len(validation) == count
    assert data.split(made_up_pairs(1), fraction, 0) == (made_up_pairs(1), [])
    assert data.split([], fraction, 0) == ([], [])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2, float("nan")])
def test_a_fraction_outside_is_refused(fraction):
    with pytest.raises(InputError, match=str(fraction)):
        data.split(made_up_pairs(3), fraction, 0)


def test_validation_references_are_training_images_used_once(tmp_path):
    train, validation = made_up_pairs(20), made_up_pairs(12, start=20)
    data.write_split(tmp_path / "split", train, validation, seed=0)
    references = json.loads((tmp_path / "split" / "val_references.json").read_text())
    assert list(references) == [f"p{i}.png" for i in range(20, 32)]
    assert len(set(references.values())) == 12 and set(references.values()) <= {f"p{i}.jpg" for i in range(20)}
    data.write_split(tmp_path / "again", train, validation, seed=0)
    data.write_split(tmp_path / "other", train, validation, seed=1)
    again, other = ((tmp_path / name / "val_references.json").read_text() for name in ("again", "other"))
    assert json.loads(again) == references != json.loads(other)


def test_training_images_are_reused_evenly_when_they_run_out():
    used = list(data.pair_references(made_up_pairs(3), made_up_pairs(7, start=3), 0).values())
    assert len(set(used[:3])) == 3 and used[3:6] == used[:3] and used[6] == used[0]


def test_a_written_split_is_read_back(root):
    pairs = data.find_pairs(root)
    train, validation = data.split(pairs, 0.4, 0)
    data.write_split(root / "split", train, validation, seed=0)
    assert sorted(os.listdir(root / "split")) == ["train.txt", "val.txt", "val_references.json"]
    assert data.read_split(root / "split", pairs) == (train, validation)
    with pytest.raises(InputError, match="no pair for"):
        data.read_split(root / "split", pairs[:1])
    with pytest.raises(InputError, match="train.txt"):
        data.read_split(root, pairs)


def test_a_file_in_the_way_of_the_split_is_refused(tmp_path):
    (tmp_path / "split").write_text("x")
    with pytest.raises(InputError, match="split"):
        data.write_split(tmp_path / "split", made_up_pairs(2), made_up_pairs(1, start=2), seed=0)
