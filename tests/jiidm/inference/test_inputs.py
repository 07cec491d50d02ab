from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from jiidm.data.identity import sha256
from jiidm.data.images import load_mask, save_png
from jiidm.data.pairs import find_pairs
from jiidm.errors import InputError
from jiidm.inference import inputs as module
from jiidm.inference.inputs import Job, check_inputs, with_reference_masks, write_demo_inputs
from jiidm.size import Size


def test_masks_and_references_are_paired_with_the_masks_sizes(inputs):
    jobs = check_inputs(*inputs, None)
    assert [(job.stem, job.reference.name, job.size) for job in jobs] == [
        ("m0", "photo0.jpg", (48, 64)), ("m1", "photo1.jpg", (64, 96)), ("m2", "photo2.jpg", (48, 64)),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["labels/m1.png", "imgs/photo2.jpg"])
def test_the_first_file_that_does_not_decode_is_named(inputs, name):
    path = inputs.references.parent / name
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match=name):
        check_inputs(*inputs, None)


def test_labels_outside_the_classes_are_named(inputs):
    save_png(inputs.masks / "m2.png", np.full((48, 64), 29, np.uint8))
    with pytest.raises(InputError, match=r"m2\.png: label 29 outside 0-28"):
        check_inputs(*inputs, None)


def test_each_file_is_decoded_once(inputs, monkeypatch):
    decoded = []
    for name in ("load_mask", "load_image"):
        original = getattr(module, name)
        spy = lambda path, original=original: decoded.append(path.name) or original(path)  # noqa: E731
        monkeypatch.setattr(module, name, spy)
    check_inputs(*inputs, None)
    assert sorted(decoded) == ["m0.png", "m1.png", "m2.png", "photo0.jpg", "photo1.jpg", "photo2.jpg"]


def test_demo_inputs_give_each_mask_another_ones_photo(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DEMO_IMAGES", 3)
    masks, references = write_demo_inputs(tmp_path, Size(48, 64))
    assert masks.parent == tmp_path / "inputs_64x48" and len(list(masks.iterdir())) == 3
    assert json.loads(references.read_text()) == {
        f"synth_{i:06d}.png": f"synth_{(i + 1) % 3:06d}.jpg" for i in range(3)
    }
    jobs = check_inputs(masks, references, None)
    assert all(load_mask(job.mask).shape == (48, 64) and job.size == (48, 64) for job in jobs)


def test_references_own_masks_are_known_one_by_one(landscapes, tmp_path, caplog):
    shutil.copytree(landscapes, tmp_path / "data")
    pairs = find_pairs(tmp_path / "data")
    shutil.copy(pairs[1].image, tmp_path / "elsewhere.jpg")
    photos = pairs[1].image, tmp_path / "elsewhere.jpg"
    jobs = [Job(pairs[0].label, photo, Size(48, 64), ("m", "r")) for photo in photos]
    with caplog.at_level(logging.INFO):
        own, predicted = with_reference_masks(jobs, "abc")
        with_reference_masks(jobs[:1], "abc")
    assert caplog.messages == ["1 of 2 references have no mask in labels/: the segmenter predicts theirs"]
    assert own.made_from == ("m", "r", sha256(pairs[1].label)) and own.reference_mask == pairs[1].label
    assert predicted.made_from == ("m", "r", "segmenter abc") and predicted.reference_mask is None
    pairs[1].label.write_bytes(b"no mask")
    with pytest.raises(InputError, match=pairs[1].label.name):
        with_reference_masks(jobs, "abc")
    own = replace(own, made_from=(sha256(own.mask), sha256(own.reference), own.made_from[2]))
    with pytest.raises(InputError, match=f"{pairs[1].label.name}: changed while it was in use"):
        own.check_unchanged()
