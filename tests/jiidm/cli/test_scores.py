"""`jiidm score` from its arguments to scores.json, and every fault of what it is given."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from networks import Brightness, Redness
from PIL import Image

from jiidm.cli import main as cli
from jiidm.cli import options
from jiidm.data import images
from jiidm.data.identity import made_by
from jiidm.evaluate.score import Evaluators
from jiidm.inference.folder import OutputFolder
from jiidm.inference.inputs import check_inputs


@pytest.fixture
def out(inputs):
    """An output folder for the three masks."""
    folder = inputs.masks.parent / "out"
    folder.mkdir()
    for number, mask in enumerate(sorted(inputs.masks.iterdir())):
        height, width = images.read_size(mask)
        photo = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        images.save_jpeg(folder / f"{mask.stem}.jpg", photo)
    return folder


@pytest.fixture
def fakes(monkeypatch):
    evaluators = Evaluators(Brightness(), Brightness(), "fd_seg", Redness())
    monkeypatch.setattr(options, "load_evaluators", lambda arguments: evaluators)


@pytest.fixture
def no_networks(monkeypatch):
    """Every fault has to be found before a network is loaded."""
    monkeypatch.setattr(options, "load_evaluators", lambda arguments: pytest.fail("networks were loaded"))


def command(out, inputs, *more):
    given = ["score", out, "--masks", inputs.masks, "--refs", inputs.references, "--device", "cpu", *more]
    return [str(argument) for argument in given]


def test_scores_are_printed_and_saved(out, inputs, fakes, capsys):
    assert cli.main(command(out, inputs)) == 0
    printed = capsys.readouterr().out
    card = json.loads((out / "_run" / "scores.json").read_text())
    assert card["scores"].keys() == {"M", "S", "A"} and f"{card['scores']['M']:.2f}" in printed
    assert card["images"].keys() == {"m0", "m1", "m2"}
    assert "FID is absent: no --real photos" in printed and "T is absent: needs FID" in printed
    assert sorted(os.listdir(out)) == ["_run", "m0.jpg", "m1.jpg", "m2.jpg"]


def test_images_of_another_mask_are_told(out, inputs, smoke, fakes, caplog):
    jobs = check_inputs(*inputs, None)
    (out / "_run").mkdir()
    OutputFolder(out).write_manifest(made_by("a" * 64, smoke, 0), jobs, out / "model.safetensors", smoke)
    assert cli.main(command(out, inputs)) == 0 and not caplog.messages
    images.save_png(inputs.masks / "m2.png", np.zeros((48, 64), np.uint8))
    assert cli.main(command(out, inputs)) == 0
    held = "holds 1 images made with other files than these masks and references, the first m2.jpg"
    assert caplog.messages == [f"{out} {held}"]


def test_references_may_lie_in_the_training_data(out, inputs, fakes, tmp_path):
    os.renames(inputs.masks.parent / "imgs", tmp_path / "data" / "imgs")
    assert cli.main(command(out, inputs)) == 2
    assert cli.main(command(out, inputs, "--data", tmp_path / "data")) == 0


def _missing(out):
    (out / "m1.jpg").unlink()
    return "m1.jpg: no such file"


def _surplus(out):
    images.save_jpeg(out / "m9.jpg", np.zeros((8, 8, 3), np.uint8))
    return "m9.jpg: an image that belongs to no mask"


def _wrong_size(out):
    images.save_jpeg(out / "m1.jpg", np.zeros((8, 8, 3), np.uint8))
    return "m1.jpg: size 8x8, must be 96x64"


def _gray(out):
    Image.new("L", (96, 64)).save(out / "m1.jpg")
    return "m1.jpg: mode L, not RGB"


def _corrupt(out):
    (out / "m1.jpg").write_bytes((out / "m1.jpg").read_bytes()[:1000])
    return "m1.jpg: cannot be read"


@pytest.mark.parametrize("damage", [_missing, _surplus, _wrong_size, _gray, _corrupt])
def test_each_fault_of_the_outputs_is_named(out, inputs, no_networks, damage, refusal):
    message = damage(out)
    assert message in refusal(command(out, inputs))
    assert not (out / "_run").exists()


def test_all_faults_are_listed(out, inputs, no_networks, capsys):
    messages = [_missing(out), _surplus(out)]
    assert cli.main(command(out, inputs)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(message in line for message, line in zip(messages, lines))


def test_what_is_not_there_is_named(out, inputs, no_networks, tmp_path, refusal):
    assert "nowhere" in refusal(command(tmp_path / "nowhere", inputs))
    assert "none.json" in refusal(command(out, inputs._replace(references=tmp_path / "none.json")))
    line = refusal(command(out, inputs, "--inception", "w.pth"))
    assert "--inception w.pth" in line and "--real" in line


@pytest.mark.parametrize("option", ["--segmenter", "--inception", "--aesthetic"])
def test_weights_that_are_none_or_of_another_network_are_named(out, inputs, smoke_model, tmp_path, option, refusal):
    real = tmp_path / "real"
    real.mkdir()
    for name in ("a.png", "b.png"):
        images.save_png(real / name, np.zeros((48, 64, 3), np.uint8))
    line = refusal(command(out, inputs, "--real", real, option, smoke_model))
    assert str(smoke_model) in line
    assert "absent.pth" in refusal(command(out, inputs, "--real", real, option, tmp_path / "absent.pth"))
    assert not (out / "_run" / "scores.json").exists()


def test_what_is_in_the_way_of_the_scores_is_named(out, inputs, fakes, capsys):
    (out / "_run" / "scores.json").mkdir(parents=True)
    assert cli.main(command(out, inputs)) == 2
    assert "scores.json: cannot be written" in capsys.readouterr().err.splitlines()[-1]


def test_real_photos_of_another_size_are_named(out, inputs, fakes, cache, refusal):
    assert "unequal sizes" in refusal(command(out, inputs, "--real", inputs.masks.parent / "imgs"))
