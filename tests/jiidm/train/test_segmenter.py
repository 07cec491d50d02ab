from __future__ import annotations

import dataclasses

import jittor as jt
import numpy as np
import pytest
from runs import ctrl_c_at, records_of, steps_of

from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.data.images import load_image, load_mask
from jiidm.data.pairs import find_pairs
from jiidm.data.synthetic.dataset import GENERATOR_VERSION
from jiidm.evaluate.segformer import PRESETS, Architecture, SegFormer
from jiidm.evaluate.segmenter import PREPROCESSING, Segmenter, load, normalized
from jiidm.size import Size
from jiidm.train import loop
from jiidm.train import segmenter as train_segmenter
from jiidm.train.segmenter import (
    SegmenterStage,
    augment,
    class_table,
    confusion_matrix,
    pixel_accuracy,
    segmentation_loss,
)
from ldm_jittor import checkpoint


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    jt.set_global_seed(0)
    return Segmenter(SegFormer(Architecture(*PRESETS["tiny"], 29)), PREPROCESSING)


def command(data, run, *more):
    return ["train", "segmenter", str(data), "--config", "smoke", "--run", str(run), "--device", "cpu", *more]


def weights(run):
    return checkpoint.load(run / train_segmenter.SEGMENTER_FILE).arrays


def test_masks_follow_their_images_through_augmentation():
    """An image that shows its own mask: bright where the class is 20, dark where it is 3."""
    mask = np.full((48, 64), 3, np.uint8)
    mask[:20, :50] = 20
    image = np.repeat(np.where(mask == 20, 220, 30)[..., None], 3, axis=2).astype(np.uint8)
    flipped = set()
    for number in range(24):
        got, moved = augment(image, mask, Size(24, 32), np.random.default_rng(number))
        assert got.shape == (24, 32, 3) and got.dtype == np.uint8 and moved.shape == (24, 32)
        assert set(np.unique(moved)) == {3, 20}
        bright = got.mean(axis=2) > got.mean()
        assert np.mean(bright == (moved == 20)) > 0.93
        flipped.add(bool(moved[0, 0] == 3))
    assert flipped == {True, False}


def test_augmentation_draws_from_its_generator_only(landscapes):
    pair = find_pairs(landscapes)[0]
    image, mask = load_image(pair.image), load_mask(pair.label)
    first, again, other = (augment(image, mask, Size(48, 64), np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 1


def test_the_loss_is_the_cross_entropy_of_the_upsampled_logits(segmenter, landscapes):
    """Averaged over the four grids it is the mean over all pixels."""
    pair = find_pairs(landscapes)[0]
    image, mask = load_image(pair.image), load_mask(pair.label)

    class Grid:
        def __init__(self, *starts):
            self.starts = starts

        def integers(self, high, size):
            return self.starts

    x = normalized([image], PREPROCESSING)
    with segmenter.network.inference():
        losses = [
            segmentation_loss(segmenter, [image], [mask], Grid(row, column)).item()
            for row in (0, 1)
            for column in (0, 1)
        ]
        logits = train_segmenter.upsample_bilinear(segmenter.network(x), mask.shape).numpy()[0].astype(np.float64)
    log_partition = np.log(np.exp(logits).sum(axis=0))
    expected = np.mean(log_partition - np.take_along_axis(logits, mask[None].astype(int), axis=0)[0])
    assert np.mean(losses) == pytest.approx(expected, rel=1e-5) and len(set(losses)) == 4


def test_confusion_counts_masks_in_rows_and_predictions_in_columns(landscapes, segmenter, monkeypatch):
    pairs = find_pairs(landscapes)[:2]
    masks = [load_mask(pair.label) for pair in pairs]
    answers = iter(masks)

    def off_by_one_in_the_first_row(images):
        predicted = next(answers).copy()
        predicted[0] = (predicted[0] + 1) % 29
        return predicted[None]

    monkeypatch.setattr(segmenter, "predict", off_by_one_in_the_first_row)
    confusion = confusion_matrix(segmenter, pairs)
    np.testing.assert_array_equal(confusion.sum(axis=1), sum(np.bincount(m.ravel(), minlength=29) for m in masks))
    assert confusion[masks[0][0, 0], (masks[0][0, 0] + 1) % 29] > 0
    assert pixel_accuracy(confusion) == pytest.approx(47 / 48)


def test_class_table_in_closed_form():
    confusion = np.zeros((29, 29), np.int64)
    confusion[1, 1], confusion[1, 0], confusion[0, 0], confusion[0, 5] = 60, 20, 15, 5
    rows = [line.strip("| ").split() for line in class_table(confusion).splitlines()[2:]]
    # sky: 60 of 80 found, 60 of 80 in the union; mountain: 15 of 20, and 20 of the sky taken for it
    assert [[row[0], *map(float, row[2::2])] for row in rows] == [["sky", 80, 75, 75], ["mountain", 20, 75, 37.5]]


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(landscapes, tmp_path, monkeypatch, capsys):
    assert cli.main(command(landscapes, tmp_path / "whole")) == 0
    told = capsys.readouterr().out
    assert "pixel accuracy on" in told and "sky" in told and "segmenter.safetensors" in told

    often = command(landscapes, tmp_path / "killed", "--set", "segmenter.checkpoint_every=2")
    load_batch = SegmenterStage.load_batch

    def killed(stage, step):
        if step == 3:
            raise ZeroDivisionError
        return load_batch(stage, step)

    monkeypatch.setattr(SegmenterStage, "load_batch", killed)
    with pytest.raises(ZeroDivisionError):
        cli.main(often)
    assert not (tmp_path / "killed" / train_segmenter.SEGMENTER_FILE).exists()
    monkeypatch.setattr(SegmenterStage, "load_batch", load_batch)
    assert cli.main(often) == 0
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert whole.keys() == resumed.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)
    assert steps_of(tmp_path / "killed" / "segmenter.jsonl", "pixel_accuracy") == [2, 4]

    before = (tmp_path / "killed" / train_segmenter.SEGMENTER_FILE).stat().st_mtime_ns
    assert cli.main(command(landscapes, tmp_path / "killed")) == 0  # finished: nothing left to do
    assert (tmp_path / "killed" / train_segmenter.SEGMENTER_FILE).stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_run_that_stops_where_an_accuracy_is_due_takes_it_when_it_goes_on(landscapes, tmp_path, monkeypatch):
    often = command(landscapes, tmp_path / "run", "--set", "segmenter.checkpoint_every=2")
    ctrl_c_at(monkeypatch, loop, "_update", 2)
    assert cli.main(often) == 130
    monkeypatch.undo()
    assert cli.main(often) == 0
    assert steps_of(tmp_path / "run" / "segmenter.jsonl", "pixel_accuracy") == [2, 4]


@pytest.mark.slow
def test_what_is_trained_can_be_loaded_and_says_where_it_is_from(landscapes, tmp_path):
    assert cli.main(command(landscapes, tmp_path, "--set", "segmenter.max_steps=1")) == 0
    path = tmp_path / train_segmenter.SEGMENTER_FILE
    loaded = load(path)
    assert loaded.preprocessing["resize"] == [64, 48] and loaded.name.startswith("SegFormer tiny")
    assert loaded.predict(np.zeros((1, 48, 64, 3), np.uint8)).shape == (1, 48, 64)
    provenance = checkpoint.load_metadata(path)["provenance"]
    assert provenance["steps"] == 1 and 0 <= provenance["pixel_accuracy"] <= 1
    assert provenance["generator_version"] == GENERATOR_VERSION


@pytest.mark.slow
def test_two_scenes_are_learnt(landscapes, tmp_path, monkeypatch):
    monkeypatch.setattr(train_segmenter, "_blur", lambda image, rng: image)
    config = configs.load_config(
        "smoke", ["segmenter.max_steps=60", "segmenter.learning_rate=3e-3", "segmenter.warmup_steps=5"]
    )
    pairs = find_pairs(landscapes)[:2]
    train_segmenter.train_segmenter(config, pairs, pairs, tmp_path, {})
    losses = [record["loss"] for record in records_of(tmp_path / "segmenter.jsonl") if "loss" in record]
    assert losses[-1] < 0.5 * losses[0]
    accuracy = checkpoint.load_metadata(tmp_path / train_segmenter.SEGMENTER_FILE)["provenance"]["pixel_accuracy"]
    assert accuracy > 0.8


def test_a_run_folder_of_another_segmenter_is_refused(landscapes, smoke, tmp_path, refusal):
    (tmp_path / "config.yaml").write_text(configs.to_yaml(dataclasses.replace(smoke, seed=5)))
    assert "another seed" in refusal(command(landscapes, tmp_path))
    assert "size" in refusal(command(landscapes, tmp_path, "--set", "segmenter.size=[16, 48]"))


def test_data_that_is_not_there_leaves_no_config(tmp_path, refusal):
    assert str(tmp_path / "absent") in refusal(command(tmp_path / "absent", tmp_path / "run"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_data_folder_named_segmenter_is_data_when_given_as_a_path(tmp_path, monkeypatch, refusal):
    monkeypatch.chdir(tmp_path)
    assert "segmenter/" in refusal(["train", "./segmenter", "--config", "smoke", "--run", "run", "--device", "cpu"])


def test_train_tells_of_its_sister(capsys):
    for command, told in (
        (["train", "--help"], "jiidm train segmenter"),
        (["train", "segmenter", "--help"], "SegFormer"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(command)
        assert end.value.code == 0 and told in capsys.readouterr().out
