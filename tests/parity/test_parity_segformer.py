"""jiidm.evaluate.segformer against transformers, through a file as Hugging Face publishes it."""

from __future__ import annotations

import json

import jittor as jt
import numpy as np
import pytest
from oracle import ask, assert_close, randomize, weights

from jiidm.evaluate.segformer import PRESETS, Architecture, SegFormer
from jiidm.evaluate.segmenter import Segmenter, normalized

NUM_CLASSES = 29
SMALL = ((8, 16, 40, 64), (1, 2, 1, 1), 24)
PREPROCESSING = {"resize": None, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]}


def arguments(widths, depths, decoder_width) -> dict:
    """SegformerConfig's names for these; everything else is its default."""
    return dict(hidden_sizes=widths, depths=depths, decoder_hidden_size=decoder_width, num_labels=NUM_CLASSES)


@pytest.fixture(scope="module", params=[(64, 96), (76, 108)], ids=["96x64", "108x76, of no 32 pixels"])
def case(request) -> dict:
    """An image size that every stage halves evenly, and one that none does."""
    height, width = request.param
    rng = np.random.default_rng(3)
    network = SegFormer(Architecture(*SMALL, NUM_CLASSES))
    state = randomize(network)
    variance = "decode_head.batch_norm.running_var"
    state[variance] = np.abs(state[variance]) + 0.1
    dict(network.named_parameters())[variance].assign(state[variance])
    images = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    segmenter = Segmenter(network, PREPROCESSING)
    x = normalized(images, PREPROCESSING)
    answers = ask(
        "oracle_segformer.py",
        config=json.dumps(arguments(*SMALL)),
        variants=json.dumps({name: arguments(*PRESETS[name]) for name in ("b0", "b1", "b2")}),
        x=x.numpy(),
        **weights(state),
    )
    return dict(segmenter=segmenter, images=images, x=x, answers=answers)


def test_logits_equal_those_of_transformers(case: dict) -> None:
    network = case["segmenter"].network
    with network.inference():
        assert_close(network(case["x"]), case["answers"]["logits"], "SegFormer logits")


def test_every_stage_equals_that_of_transformers(case: dict) -> None:
    for stage, ours in enumerate(case["segmenter"].network.encode(case["x"])):
        oracle = case["answers"][f"features/{stage}"]
        assert_close(ours.permute(0, 3, 1, 2), oracle, f"SegFormer stage {stage + 1}")


def test_classes_at_the_images_size_equal_those_of_transformers(case: dict) -> None:
    """A tie to float noise may be broken the other way."""
    same = case["segmenter"].predict(case["images"]) == case["answers"]["classes"]
    assert same.shape == case["images"].shape[:3] and same.mean() > 0.9999


def test_features_are_the_mean_of_the_last_stage(case: dict) -> None:
    oracle = case["answers"]["features/3"].mean(axis=(2, 3))
    assert_close(case["segmenter"].features(case["images"]), oracle, "SegFormer pooled features")


@pytest.mark.parametrize("variant", ["b0", "b1", "b2"])
def test_released_variants_have_the_same_names_and_shapes(case: dict, variant: str) -> None:
    with jt.no_grad():
        network = SegFormer(Architecture(*PRESETS[variant], NUM_CLASSES))
    ours = {name: list(parameter.shape) for name, parameter in network.named_parameters()}
    theirs = json.loads(str(case["answers"][f"shapes/{variant}"]))
    assert ours == {name: shape for name, shape in theirs.items() if not name.endswith("num_batches_tracked")}
