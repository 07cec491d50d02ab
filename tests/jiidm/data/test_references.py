from __future__ import annotations

import json
import os
import re
import unicodedata
from pathlib import Path

import pytest

from jiidm.data.references import find_masks, list_masks, load_references, next_of_each, write_references
from jiidm.errors import InputError


@pytest.fixture
def layout(tmp_path):
    """The layout of the sample data: root/imgs, root/labels, root/refs.json."""
    root = tmp_path / "root"
    for folder, suffix in (("imgs", ".jpg"), ("labels", ".png")):
        (root / folder).mkdir(parents=True)
        for stem in "abc":
            (root / folder / f"{stem}{suffix}").write_bytes(b"x")
    return root


def write(root, entries):
    path = root / "refs.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def load(root, entries, **options):
    return load_references(write(root, entries), find_masks(root / "labels"), **options)


def error_of(root, entries, **options):
    with pytest.raises(InputError) as caught:
        load(root, entries, **options)
    message = str(caught.value)
    assert message.startswith(f"{root / 'refs.json'}: ") and "\n" not in message
    return message


GOOD = {"a.png": "b.jpg", "b.png": "c.jpg", "c.png": "a.jpg"}


def test_masks_are_sorted_png_files(layout):
    (layout / "labels" / "notes.txt").write_text("x")
    (layout / "labels" / "._a.png").write_text("x")
    assert [mask.name for mask in find_masks(layout / "labels")] == ["a.png", "b.png", "c.png"]


def test_masks_in_capitals_are_masks(layout):
    (layout / "labels" / "b.png").rename(layout / "labels" / "b.PNG")
    (layout / "imgs" / "a.jpg").rename(layout / "imgs" / "a.JPG")
    found = load(layout, GOOD)
    assert {stem: path.name for stem, path in found.items()} == {"a": "b.jpg", "b": "c.jpg", "c": "a.JPG"}


@pytest.mark.parametrize("name", ["a.PNG", os.fsdecode(b"\xb7\xe7.png")])
def test_masks_of_one_name_and_of_no_text_are_refused(layout, name):
    (layout / "labels" / name).touch()
    with pytest.raises(InputError, match=re.escape(ascii(name)[1:-1])):
        find_masks(layout / "labels")


@pytest.mark.parametrize("name", ["风景\u30001", "8.00.48\u202fAM"])
def test_spaces_of_any_kind_are_parts_of_a_name(layout, name):
    (layout / "labels" / "a.png").rename(layout / "labels" / f"{name}.png")
    write(layout, {**{key: value for key, value in GOOD.items() if key != "a.png"}, f"{name}.png": "a.jpg"})
    assert list_masks(layout / "refs.json") == [Path(mask.name) for mask in find_masks(layout / "labels")]


def test_names_agree_across_unicode_forms(layout):
    """macOS takes é apart; a JSON from elsewhere has it in one."""
    apart = unicodedata.normalize("NFD", "été")
    (layout / "labels" / "a.png").rename(layout / "labels" / f"{apart}.png")
    (layout / "imgs" / "a.jpg").rename(layout / "imgs" / f"{apart}.jpg")
    found = load(layout, {"b.png": "b.jpg", "été.png": "été.jpg", "c.png": "imgs/été.jpg"})
    assert {stem: path.name for stem, path in found.items()} == {
        "b": "b.jpg",
        "c": f"{apart}.jpg",
        apart: f"{apart}.jpg",
    }
    assert "more than one" in error_of(layout, {"été.png": "a.jpg", f"{apart}.png": "a.jpg"})


@pytest.mark.parametrize("text", ['{"a": ' * 50_000, '{"a.png": ' + "1" * 5000 + "}", "[" * 100_000])
def test_deep_and_long_json_is_refused(layout, text):
    assert "not a JSON file" in error_of(layout, text)


def test_a_pipe_and_a_device_are_no_references(layout):
    masks = find_masks(layout / "labels")
    os.mkfifo(layout / "pipe.json")
    for path in (layout / "pipe.json", Path("/dev/zero")):
        with pytest.raises(InputError, match="not a regular file"):
            load_references(path, masks)


def test_missing_and_empty_mask_folders_are_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=str(folder)):
            find_masks(folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file"):
        find_masks(tmp_path / "file")


def test_next_of_each_gives_the_last_the_first():
    assert next_of_each(["a", "b", "c"]) == {"a": "b", "b": "c", "c": "a"}
    assert next_of_each([2, 0, 1]) == {2: 0, 0: 1, 1: 2}
    assert next_of_each(["a"]) == {"a": "a"} and next_of_each([]) == {}


def test_written_references_are_read_back(layout):
    (layout / "imgs" / "été.jpg").write_bytes(b"x")
    write_references(layout / "refs.json", {**GOOD, "a.png": "été.jpg"})
    found = load_references(layout / "refs.json", find_masks(layout / "labels"))
    assert [path.name for path in found.values()] == ["été.jpg", "c.jpg", "a.jpg"]


def test_images_are_found_in_imgs_beside_the_json(layout):
    found = load(layout, GOOD)
    assert list(found) == ["a", "b", "c"]
    assert {stem: path.name for stem, path in found.items()} == {"a": "b.jpg", "b": "c.jpg", "c": "a.jpg"}
    assert all(path.is_file() and path.parent.name == "imgs" for path in found.values())


def test_image_folders_are_tried_in_order(layout, tmp_path):
    data_root = tmp_path / "data"
    (data_root / "imgs").mkdir(parents=True)
    entries = {"a.png": "r.jpg", "b.png": "imgs/b.jpg", "c.png": str((layout / "imgs" / "c.jpg").resolve())}
    (data_root / "imgs" / "r.jpg").write_bytes(b"x")
    found = load(layout, entries, data_root=data_root)
    assert found["a"] == (data_root / "imgs" / "r.jpg").resolve()
    assert found["b"] == (layout / "imgs" / "b.jpg").resolve()
    assert found["c"] == (layout / "imgs" / "c.jpg").resolve()
    for place in (layout / "imgs", layout):
        (place / "r.jpg").write_bytes(b"x")
        assert load(layout, entries, data_root=data_root)["a"] == (place / "r.jpg").resolve()


def test_an_imgs_folder_that_is_a_link_is_allowed(layout, tmp_path):
    (layout / "imgs").rename(tmp_path / "elsewhere")
    (layout / "imgs").symlink_to(tmp_path / "elsewhere")
    assert load(layout, GOOD)["a"] == (tmp_path / "elsewhere" / "b.jpg").resolve()


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "imgs/../../secret.jpg", "{root}/secret.jpg", "imgs/link.jpg", "link.jpg"]
)
def test_references_outside_the_folders_are_refused(layout, tmp_path, name):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (layout / "imgs" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    name = name.format(root=tmp_path)
    message = error_of(layout, {**GOOD, "b.png": name})
    assert repr(name) in message and "outside" in message


def test_outside_references_are_refused_even_if_the_name_exists_inside(layout):
    assert "outside" in error_of(layout, {**GOOD, "a.png": "../imgs/b.jpg"})


def test_dot_dot_that_stays_inside_is_fine(layout):
    assert load(layout, {**GOOD, "a.png": "labels/../imgs/b.jpg"})["a"].name == "b.jpg"


def test_missing_references_are_named_and_counted(layout):
    message = error_of(layout, {"b.png": "b.jpg"})
    assert "no reference" in message and "'a.png', 'c.png'" in message and "2 in all" in message


def test_many_faults_are_cut_to_the_first_few(layout):
    message = error_of(layout, {**GOOD, **{f"x{i}.png": "a.jpg" for i in range(9)}})
    assert "does not exist" in message and "'x2.png', ..." in message and "x3" not in message and "9 in all" in message


@pytest.mark.parametrize("name", ["missing.jpg", "", ".", "imgs"])
def test_images_that_are_not_there_are_named(layout, name):
    message = error_of(layout, {**GOOD, "a.png": name})
    assert "not found" in message and repr(name) in message and str(layout / "imgs") in message


@pytest.mark.parametrize("name", ["a\0b.jpg", "x" * 5000 + ".jpg", "\ud800.jpg"])
def test_impossible_names_are_refused(layout, name):
    error_of(layout, {**GOOD, "a.png": name})


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, '["a.png"]', "3", '{"a.png": 3}', '{"a.png": null}', '{"a.png": {"b": "c"}}'],
)
def test_other_files_are_not_references(layout, text):
    assert "JSON" in error_of(layout, text)


def test_binary_and_missing_files_are_not_references(layout):
    (layout / "refs.json").write_bytes(b"\xff\xd8\xff\xe0")
    for path in (layout / "refs.json", layout / "missing.json", layout):
        with pytest.raises(InputError, match=str(path)):
            load_references(path, find_masks(layout / "labels"))


def test_duplicate_keys_are_refused(layout):
    message = error_of(layout, '{"a.png": "a.jpg", "b.png": "b.jpg", "c.png": "c.jpg", "a.png": "a.jpg"}')
    assert "more than one" in message and "'a.png'" in message


def test_names_with_line_breaks_stay_on_one_line(layout):
    assert r"x\ny" in error_of(layout, {**GOOD, "x\ny.png": "a.jpg"})


def test_a_byte_order_mark_is_read_over(layout):
    assert len(load(layout, "\ufeff" + json.dumps(GOOD))) == 3
