"""From other classes to the 29: ADE20K's by their names, others as a file says."""

import json

import numpy as np
import pytest
from ade20k import ADE20K_NAMES

from jiidm.classes import CLASS_NAMES
from jiidm.errors import InputError
from jiidm.evaluate.mapping import ade20k, read_mapping


def test_ade20ks_classes_go_by_their_names():
    expected = [name if name in CLASS_NAMES else "other" for name in ADE20K_NAMES]
    assert [CLASS_NAMES[number] for number in ade20k().table] == expected
    assert expected.count("other") == 122 and len(set(expected)) == 29


def test_a_file_maps_what_it_names_and_the_rest_is_other(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('{"tree": [4, 1], "sky": 0}')
    mapping = read_mapping(file, 6)
    assert [CLASS_NAMES[number] for number in mapping.table] == ["sky", "tree", "other", "other", "tree", "other"]
    assert mapping.table.dtype == np.uint8
    record = json.loads(json.dumps(mapping.record()))
    assert record == {"source": "mine.json", "num_classes": 6, "classes": {"tree": [4, 1], "sky": [0]}}


@pytest.mark.parametrize(
    "text, told",
    [
        ("{", "cannot be read as a class mapping"),
        ("[1, 2]", "not a class mapping"),
        ("{}", "not a class mapping"),
        ('{"trees": [4]}', "'trees'"),
        ('{"tree": [4], "sky": [2], "tree": [1]}', "tree stands twice"),
        ('{"tree": [6]}', "tree: 6 is no class number of 0 to 5"),
        ('{"tree": [-1]}', "tree: -1"),
        ('{"tree": [true]}', "tree: True"),
        ('{"tree": "4"}', "tree: '4'"),
        ('{"tree": [4], "sky": [4]}', "4 stands under tree and under sky"),
        ('{"tree": [4, 4]}', "4 stands under tree and under tree"),
    ],
)
def test_a_wrong_file_is_told_with_its_value(tmp_path, text, told):
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(InputError, match="mine.json: ") as caught:
        read_mapping(file, 6)
    assert told in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="none.json"):
        read_mapping(tmp_path / "none.json", 6)
