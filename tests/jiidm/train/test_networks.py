"""The list of networks that a run has learned or chosen with."""

from __future__ import annotations

import pytest

from jiidm.errors import InputError
from jiidm.train.networks import NETWORKS_FILE, Used, record

VGG, SEGMENTER = Used("perceptual", "vgg19 (a.pth)", 64 * "a"), Used("validation", "segmenter", 64 * "b")


def test_list_grows_and_forgets_nothing(tmp_path):
    assert record(tmp_path, []) == [] and not list(tmp_path.iterdir())
    first = {"use": "perceptual", "name": "vgg19 (a.pth)", "sha256": 64 * "a"}
    assert record(tmp_path, [VGG]) == record(tmp_path, [VGG]) == record(tmp_path, []) == [first]
    assert record(tmp_path, [SEGMENTER, VGG]) == [first, SEGMENTER._asdict()]


def test_another_perceptual_network_under_the_same_name_is_refused(tmp_path):
    record(tmp_path, [VGG, SEGMENTER])
    with pytest.raises(InputError, match=r"another vgg19 \(a\.pth\) \(aaaaaaaaaaaa.*, now cccccccccccc.*same file"):
        record(tmp_path, [VGG._replace(sha256=64 * "c")])
    record(tmp_path, [VGG._replace(name="vgg19 (b.pth)"), SEGMENTER._replace(sha256=64 * "d")])


@pytest.mark.parametrize("content", ["{", "3", '[{"use": "perceptual"}]', '["text"]'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / NETWORKS_FILE).write_text(content)
    with pytest.raises(InputError, match="networks.json: not a list of networks"):
        record(tmp_path, [VGG])
