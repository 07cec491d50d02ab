import hashlib
import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from processes import run_python

import jiidm.data.synthetic.dataset
from jiidm.classes import CLASS_NAMES
from jiidm.data.synthetic.dataset import GENERATOR_VERSION, landscape, stored_version, write_dataset
from jiidm.errors import InputError
from jiidm.size import Size

SMALL = Size(height=96, width=128)


def digest(image, mask):
    return hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()


def test_landscape_has_the_size_types_and_labels_asked_for():
    for size in [Size(48, 64), Size(61, 97), Size(150, 200), Size(100, 70)]:
        image, mask = landscape(4, size)
        assert image.shape == (*size, 3) and image.dtype == np.uint8
        assert mask.shape == size and mask.dtype == np.uint8
        assert mask.max() <= 28


def test_landscape_is_the_same_in_another_process_and_without_jittor():
    code = (
        "import sys, hashlib; from jiidm.data.synthetic.dataset import landscape; from jiidm.size import Size\n"
        "landscape(3, Size(48, 64))\n"
        "for i in (5, 6):\n"
        "    image, mask = landscape(i, Size(96, 128))\n"
        "    print(hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest())\n"
        "assert 'jittor' not in sys.modules"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [digest(*landscape(5, SMALL)), digest(*landscape(6, SMALL))]


def test_index_and_seed_each_change_the_scene():
    masks = [landscape(0, SMALL)[1], landscape(1, SMALL)[1], landscape(0, SMALL, seed=1)[1]]
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert (masks[a] != masks[b]).mean() > 0.05


def test_landscapes_have_sky_above_no_gaps_below_and_many_classes():
    seen, counts = set(), []
    for index in range(60):
        mask = landscape(index, SMALL)[1]
        labels = {CLASS_NAMES[label] for label in np.unique(mask)}
        assert "sky" in labels and mask[0, 0] == CLASS_NAMES.index("sky")
        # "other" is the canvas before painting, so a gap between elements would show up at the lower edge.
        assert CLASS_NAMES.index("other") not in mask[40:]
        seen |= labels
        counts.append(len(labels))
    assert len(seen) >= 16
    assert min(counts) >= 4 and 4 <= np.mean(counts) <= 9


def test_another_size_shows_the_same_scene():
    for index in range(8):
        small, large = landscape(index, SMALL)[1], landscape(index, Size(288, 384))[1]
        reduced = cv2.resize(large, SMALL[::-1], interpolation=cv2.INTER_NEAREST)
        assert (reduced == small).mean() > 0.93


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": Size(48, 63)}, "63x48"),
        ({"index": -1}, "index -1"),
        ({"seed": -2}, "seed -2"),
        ({"style": -3}, "-3"),
    ],
)
def test_landscape_refuses_bad_arguments(arguments, named):
    with pytest.raises(InputError, match=named):
        landscape(**{"index": 0, "size": SMALL, **arguments})


def tree(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_write_dataset_writes_pairs_that_read_back(tmp_path):
    write_dataset(tmp_path, 2, Size(48, 64), seed=3, start=5, progress=False)
    stems = ("synth_000005", "synth_000006")
    pairs = {f"imgs/{stem}.jpg" for stem in stems} | {f"labels/{stem}.png" for stem in stems}
    assert set(tree(tmp_path)) == {"dataset.json", "checksums.txt"} | pairs
    told = subprocess.run(["sha256sum", "-c", "checksums.txt"], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 0 and {line.split(":")[0] for line in told.stdout.splitlines()} == pairs
    image, mask = landscape(6, Size(48, 64), seed=3)
    with Image.open(tmp_path / "labels/synth_000006.png") as stored:
        assert stored.mode == "L"
        np.testing.assert_array_equal(np.array(stored), mask)
    with Image.open(tmp_path / "imgs/synth_000006.jpg") as stored:
        assert stored.mode == "RGB" and stored.size == (64, 48)
        assert np.abs(np.array(stored).astype(int) - image).mean() < 8
    settings = json.loads((tmp_path / "dataset.json").read_text())
    assert settings == {"generator_version": GENERATOR_VERSION, "seed": 3, "size": [64, 48]}


@pytest.mark.parametrize(
    ("text", "version"),
    [('{"generator_version": 7}', 7), ("{}", None), ("[1]", None), ("{", None), (None, None)],
)
def test_stored_version_reads_a_dataset_of_any_origin(tmp_path, text, version):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    assert stored_version(tmp_path) == version


@pytest.mark.parametrize("fails_in", ["landscape", "mask"])
def test_write_dataset_continues_after_an_interruption(tmp_path, monkeypatch, fails_in):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    write_dataset(whole, 4, Size(48, 64), progress=False)
    written = Path.write_bytes

    def interrupted_landscape(index, size, **options):
        if index == 2:
            raise KeyboardInterrupt
        return landscape(index, size, **options)

    def interrupted_write(path, content):
        if path.parent.name == "labels" and len(list((broken / "labels").glob("synth_*"))) == 2:
            written(path, b"half a fi")
            raise KeyboardInterrupt
        return written(path, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if fails_in == "landscape":
            patch.setattr(jiidm.data.synthetic.dataset, "landscape", interrupted_landscape)
        else:
            patch.setattr(Path, "write_bytes", interrupted_write)
        write_dataset(broken, 4, Size(48, 64), progress=False)
    left = {name: content for name, content in tree(broken).items() if name != "checksums.txt"}
    assert {name: data for name, data in tree(whole).items() if name in left} == left  # nothing half-written
    assert len([name for name in left if name.startswith("labels/")]) == 2
    write_dataset(broken, 4, Size(48, 64), progress=False)
    assert tree(broken) == tree(whole)


def test_write_dataset_does_not_generate_again_what_is_as_it_was_generated(tmp_path, monkeypatch):
    write_dataset(tmp_path, 2, Size(48, 64), progress=False)
    before = tree(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(jiidm.data.synthetic.dataset, "landscape", lambda *_, **options: pytest.fail("generated again"))
        write_dataset(tmp_path, 2, Size(48, 64), progress=False)
    (tmp_path / "checksums.txt").write_text(before["checksums.txt"].decode()[:-30])  # as a power cut may leave it
    write_dataset(tmp_path, 2, Size(48, 64), progress=False)
    checksums = (tmp_path / "checksums.txt").read_text()
    assert set(before["checksums.txt"].decode().splitlines()) <= set(checksums.splitlines())
    assert {name: content for name, content in tree(tmp_path).items() if name != "checksums.txt"} == {
        name: content for name, content in before.items() if name != "checksums.txt"
    }


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("name", ["imgs/synth_000001.jpg", "labels/synth_000001.png"])
@pytest.mark.parametrize("fault", ["torn", "of another seed", "empty"])
def test_write_dataset_notices_a_file_that_is_not_as_generated(tmp_path, name, fault, recorded):
    write_dataset(tmp_path / "a", 2, Size(48, 64), progress=False)
    write_dataset(tmp_path / "b", 2, Size(48, 64), seed=1, progress=False)
    path = tmp_path / "a" / name
    content = {"torn": path.read_bytes()[:-200], "of another seed": (tmp_path / "b" / name).read_bytes(), "empty": b""}
    path.write_bytes(content[fault])
    if not recorded:  # as an earlier version left it
        (tmp_path / "a/checksums.txt").unlink()
    with pytest.raises(InputError, match=name):
        write_dataset(tmp_path / "a", 2, Size(48, 64), progress=False)
    assert path.read_bytes() == content[fault]
    path.unlink()
    write_dataset(tmp_path / "a", 2, Size(48, 64), progress=False)
    write_dataset(tmp_path / "whole", 2, Size(48, 64), progress=False)
    assert path.read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("change", [{"seed": 1}, {"size": Size(60, 80)}])
def test_write_dataset_refuses_to_mix_settings(tmp_path, change):
    write_dataset(tmp_path, 1, Size(48, 64), progress=False)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="dataset.json"):
        write_dataset(tmp_path, **{"count": 2, "size": Size(48, 64), "progress": False, **change})
    assert tree(tmp_path) == before


def test_write_dataset_refuses_another_generators_and_foreign_folders(tmp_path, monkeypatch):
    write_dataset(tmp_path / "old", 1, Size(48, 64), progress=False)
    monkeypatch.setattr(jiidm.data.synthetic.dataset, "GENERATOR_VERSION", GENERATOR_VERSION + 1)
    with pytest.raises(InputError, match="generator_version"):
        write_dataset(tmp_path / "old", 1, Size(48, 64), progress=False)
    (tmp_path / "photos/imgs").mkdir(parents=True)
    (tmp_path / "photos/imgs/a.jpg").write_bytes(b"a photo")
    with pytest.raises(InputError, match="photos"):
        write_dataset(tmp_path / "photos", 1, Size(48, 64), progress=False)
    (tmp_path / "old/dataset.json").write_text("{")
    with pytest.raises(InputError, match="cannot be used"):
        write_dataset(tmp_path / "old", 1, Size(48, 64), progress=False)


def test_write_dataset_names_a_folder_it_cannot_make(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken"):
        write_dataset(tmp_path / "taken", 1, Size(48, 64), progress=False)


@pytest.mark.parametrize("arguments", [{"count": 0}, {"start": -1}, {"size": Size(32, 32)}, {"seed": -1}])
def test_write_dataset_writes_nothing_for_bad_arguments(tmp_path, arguments):
    root = tmp_path / "new"
    with pytest.raises(InputError):
        write_dataset(root, **{"count": 1, "size": Size(48, 64), "progress": False, **arguments})
    assert not root.exists()
