"""Who may score a table: nobody who taught or chose one of its models."""

from __future__ import annotations

import pytest
from networks import Brightness, Redness

from jiidm.errors import InputError
from jiidm.evaluate import segmenter
from jiidm.evaluate.score import Evaluators
from jiidm.experiments.impartial import networks_of, refuse_partial
from jiidm.model import files
from jiidm.model.files import ModelFile
from jiidm.train.networks import Used
from ldm_jittor import checkpoint

EVALUATORS = Evaluators(Brightness(), Brightness(), "FID", Redness())


@pytest.fixture
def model(smoke_model, tmp_path):
    def made(provenance):
        stored = checkpoint.load(smoke_model)
        path = tmp_path / "model.safetensors"
        checkpoint.save(path, stored.arrays, {**stored.metadata, "provenance": provenance})
        return ModelFile(path)

    return made


def used(use, network):
    return {"networks": [{"use": use, "name": "it", "sha256": network.sha256}]}


def test_strangers_may_score(model):
    refuse_partial(
        [model({}), model({"networks": [{"use": "validation", "name": "x", "sha256": "c" * 64}]})], EVALUATORS
    )


@pytest.mark.parametrize(
    ("use", "network", "told"),
    [
        ("validation", Brightness, r"model\.safetensors: the network that gives M, brightness, chose among its checkp"),
        ("perceptual", Redness, "the network that gives A, redness, taught it"),
    ],
)
def test_a_network_that_took_part_is_refused_by_name(model, use, network, told):
    with pytest.raises(InputError, match=told):
        refuse_partial([model({}), model(used(use, network))], EVALUATORS)


def test_the_shipped_segmenter_chose_the_shipped_models_checkpoints():
    shipped = ModelFile(files.SHIPPED)
    sha256 = files.sha256(segmenter.SHIPPED)
    assert [entry.sha256 for entry in networks_of(shipped)] == [sha256]
    scorer = Brightness()
    scorer.sha256 = sha256
    with pytest.raises(InputError, match="chose among its checkpoints"):
        refuse_partial([shipped], Evaluators(scorer, Brightness(), "FID"))


def test_provenance_that_is_no_list_of_networks_is_told(model):
    with pytest.raises(InputError, match="provenance.networks"):
        networks_of(model({"networks": [{"hash": "x"}]}))
    assert networks_of(model({})) is None
    assert networks_of(model(used("validation", Redness))) == [Used("validation", "it", "a" * 64)]
