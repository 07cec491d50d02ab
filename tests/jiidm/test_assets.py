"""The weights that ship, and the model cards that describe them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from safetensors import safe_open

import jiidm
from jiidm.data.identity import same_weights

ASSETS = Path(jiidm.__file__).parent / "assets"
WEIGHTS = sorted(ASSETS.glob("*.safetensors"))
TABLE1 = sorted(ASSETS.glob("table1/*.safetensors"))


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_model_card_names_hash_of_its_file(path):
    card = path.with_suffix(".md").read_text(encoding="utf-8")

    assert re.findall(r"\b[0-9a-f]{64}\b", card) == [hashlib.sha256(path.read_bytes()).hexdigest()]


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.stem)
def test_model_card_tells_data_training_scores_limits_and_licence(path):
    card = path.with_suffix(".md").read_text(encoding="utf-8")

    assert re.findall(r"^## (.+)$", card, re.MULTILINE) == ["Data", "Training", "Scores", "Limits"]
    assert "| licence | MIT" in card


def test_one_model_card_describes_the_rows_of_the_embedded_table_and_their_judge():
    card = (ASSETS / "table1" / "README.md").read_text(encoding="utf-8")

    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in TABLE1}
    told = dict(re.findall(r"^\| `(\w+\.safetensors)` \|.*\b([0-9a-f]{64})\b", card, re.MULTILINE))
    assert told == hashes and len(hashes) == 6
    assert re.findall(r"^## (.+)$", card, re.MULTILINE) == ["Data", "Training", "Scores", "Limits"]
    assert "| licence | MIT" in card


def test_every_card_has_its_weights():
    assert {path.stem for path in ASSETS.glob("*.md")} == {path.stem for path in WEIGHTS} == {"demo", "segmenter"}


@pytest.mark.parametrize("path", WEIGHTS + TABLE1, ids=lambda path: path.stem)
def test_weights_that_ship_have_a_checksum(path):
    with safe_open(path, framework="numpy") as file:
        assert len(json.loads(file.metadata()["ldm_jittor"])["checksum"]) == 64


def test_a_segmenter_that_shipped_without_checksum_is_known_as_this_one():
    former = "7e3bccfa8987a930c66034852ab16ba553c604741cdc01f7d2ed7eb4b0bb09a7"
    assert same_weights(former) == hashlib.sha256((ASSETS / "segmenter.safetensors").read_bytes()).hexdigest()
    assert same_weights("a" * 64) == "a" * 64
