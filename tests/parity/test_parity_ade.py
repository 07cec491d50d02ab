"""M by a SegFormer of ADE20K's 150 classes against transformers, from the published files' form to the mapped mask."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ade20k import ADE20K_NAMES
from oracle import COMPARISONS, ask, randomize, weights
from safetensors.numpy import save_file

from jiidm.classes import CLASS_NAMES
from jiidm.data.synthetic.dataset import landscape
from jiidm.evaluate import metrics, segmenter
from jiidm.evaluate.segformer import Architecture, SegFormer
from jiidm.size import Size

SIZES = ((8, 16, 40, 64), (1, 2, 1, 1), 24)
PROCESSOR = {"do_resize": True, "size": {"height": 64, "width": 64}, "resample": 2, "do_reduce_labels": True}


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> dict:
    """Random weights with the published shape, in a folder as Hugging Face publishes them."""
    folder = tmp_path_factory.mktemp("ade")
    network = SegFormer(Architecture(*SIZES, len(ADE20K_NAMES)))
    state = randomize(network, 5)
    variance = "decode_head.batch_norm.running_var"
    state[variance] = np.abs(state[variance]) + 0.1
    state["decode_head.linear_c.0.proj.weight"] *= 20  # what tells places apart
    state["decode_head.classifier.bias"][:] = 0
    named = [number for number, name in enumerate(ADE20K_NAMES) if name in CLASS_NAMES]
    state["decode_head.classifier.weight"][named] *= 3  # so that many of the challenge's classes occur
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    config = dict(hidden_sizes=SIZES[0], depths=SIZES[1], decoder_hidden_size=SIZES[2], num_labels=len(ADE20K_NAMES))
    scenes = [landscape(number, Size(96, 128), seed=4) for number in range(3)]
    images, masks = (np.stack(column) for column in zip(*scenes))
    answers = ask(
        "oracle_ade.py", config=json.dumps(config), processor=json.dumps(PROCESSOR), images=images, **weights(state)
    )
    return dict(folder=folder, images=images, masks=masks, classes=answers["classes"])


def test_m_equals_that_of_transformers_classes_by_their_names(case: dict) -> None:
    """A tie to float noise may be broken the other way."""
    names = np.array([CLASS_NAMES.index(name if name in CLASS_NAMES else "other") for name in ADE20K_NAMES])
    oracle = names[case["classes"]]
    ours = segmenter.load(case["folder"]).predict(case["images"])
    assert len(np.unique(oracle)) > 5
    same = float((ours == oracle).mean())
    COMPARISONS.append(("pixels by ADE20K's classes, mapped", "transformers", f"{1 - same:.1e}"))
    assert same > 0.9999
    for prediction, expected, mask in zip(ours, oracle, case["masks"]):
        assert metrics.pixel_accuracy(prediction, mask) == pytest.approx((expected == mask).mean(), abs=2e-4)
