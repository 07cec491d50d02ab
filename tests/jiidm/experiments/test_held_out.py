from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from jiidm.data import images
from jiidm.data import pairs as data
from jiidm.data.synthetic.dataset import write_dataset
from jiidm.errors import InputError
from jiidm.experiments import held_out
from jiidm.size import Size


@pytest.fixture
def pairs(landscapes):
    return data.find_pairs(landscapes)


def masks_of(jobs):
    return {job.stem: images.load_mask(job.mask) for job in jobs}


def test_generated_landscapes_are_not_those_of_a_training_run(tmp_path, smoke):
    jobs = held_out.lay_out(tmp_path / "out", 3, Size(48, 64), None)
    write_dataset(tmp_path / "trained", 3, Size(48, 64), seed=smoke.seed, progress=False)
    trained = [images.load_mask(pair.label) for pair in data.find_pairs(tmp_path / "trained")]
    assert len(jobs) == 3
    assert not any(np.array_equal(mask, other) for mask in masks_of(jobs).values() for other in trained)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_each_mask_gets_another_ones_photo_and_each_photo_is_used_once(tmp_path, pairs, count):
    jobs = held_out.lay_out(tmp_path / "out", count, Size(48, 64), pairs)
    references = [job.reference.stem for job in jobs]
    assert len(jobs) == count and sorted(references) == sorted(job.stem for job in jobs)
    assert all(reference != job.stem for reference, job in zip(references, jobs))


def test_pairs_are_copied_evenly_spread_and_can_be_scored_by_hand(tmp_path, pairs):
    jobs = held_out.lay_out(tmp_path / "out", 3, Size(48, 64), pairs)
    assert [job.stem for job in jobs] == [pairs[index].stem for index in (0, 2, 4)]
    folder = tmp_path / "out" / "data"
    assert [p.stem for p in data.find_pairs(folder)] == [job.stem for job in jobs]
    assert (folder / "imgs" / pairs[2].image.name).read_bytes() == pairs[2].image.read_bytes()
    assert json.loads((folder / "references.json").read_text()).keys() == {job.mask.name for job in jobs}


def test_all_are_taken_where_there_are_fewer(tmp_path, pairs):
    assert len(held_out.lay_out(tmp_path / "out", 50, Size(48, 64), pairs)) == 6


def test_a_second_call_gives_the_same_and_other_pairs_are_refused(tmp_path, pairs):
    out = tmp_path / "out"
    assert held_out.lay_out(out, 3, Size(48, 64), pairs) == held_out.lay_out(out, 3, Size(48, 64), pairs)
    for count, given in ((4, pairs), (3, None), (3, pairs[:5])):  # of five, others than of six
        with pytest.raises(InputError, match="choose another --out"):
            held_out.lay_out(out, count, Size(48, 64), given)
    assert len(data.find_pairs(out / "data")) == 3


@pytest.mark.parametrize("changed", ["source", "copy"])
def test_a_pair_that_has_changed_since_it_was_copied_is_refused(tmp_path, landscapes, changed):
    root, out = shutil.copytree(landscapes, tmp_path / "photos"), tmp_path / "out"
    held_out.lay_out(out, 3, Size(48, 64), data.find_pairs(root))
    folder = root if changed == "source" else out / "data"
    images.save_png(folder / "labels" / "synth_000002.png", np.zeros((48, 64), np.uint8))
    with pytest.raises(InputError) as caught:
        held_out.lay_out(out, 3, Size(48, 64), data.find_pairs(root))
    told = str(caught.value)
    assert told.startswith(f"{out / 'data/labels/synth_000002.png'}: made with another synth_000002.png (")
    assert told.endswith("; choose another --out")


def test_what_cannot_be_measured_is_refused(tmp_path, pairs):
    with pytest.raises(InputError, match="1 masks"):
        held_out.lay_out(tmp_path / "out", 1, Size(48, 64), pairs)
    assert not (tmp_path / "out").exists()
    write_dataset(tmp_path / "larger", 7, Size(64, 96), progress=False)
    other = data.find_pairs(tmp_path / "larger")[6]
    with pytest.raises(InputError, match="unequal sizes"):
        held_out.lay_out(tmp_path / "out", 9, Size(48, 64), [*pairs, other])
    other.label.write_bytes(b"")
    with pytest.raises(InputError, match=str(other.label)):
        held_out.lay_out(tmp_path / "out", 9, Size(48, 64), [*pairs, other])
    assert not (tmp_path / "out").exists()


def test_a_run_on_generated_landscapes_is_measured_on_others(tmp_path):
    (tmp_path / "run" / "data").mkdir(parents=True)
    assert held_out.run_pairs(tmp_path / "run", {"data": "generator version 1"}) is None


def test_a_run_on_photos_is_measured_on_those_it_was_not_trained_on(tmp_path, landscapes):
    root = shutil.copytree(landscapes, tmp_path / "photos")
    train, validation = data.split(data.find_pairs(root), 0.4, 1)
    data.write_split(tmp_path / "run" / "split", train, validation, 1)
    assert held_out.run_pairs(tmp_path / "run", {"data": str(root)}) == validation
    shutil.rmtree(root)
    with pytest.raises(InputError, match="photos"):
        held_out.run_pairs(tmp_path / "run", {"data": str(root)})
