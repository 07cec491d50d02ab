from __future__ import annotations

import os
import unicodedata

import pytest

from jiidm.data import folders
from jiidm.data.folders import list_folder, name_faults, require_distinct, same_name
from jiidm.errors import InputError

SYSTEM_FILES = ("Thumbs.db", "desktop.ini", ".DS_Store", "._a.png", "Icon\r", "ehthumbs.db")


def test_what_systems_leave_is_not_listed(tmp_path):
    for name in ("b.png", "a.png", *SYSTEM_FILES):
        (tmp_path / name).touch()
    for name in ("@eaDir", "__MACOSX", "$RECYCLE.BIN"):
        (tmp_path / name).mkdir()
    assert [path.name for path in list_folder(tmp_path)] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.png", "a.PNG"), ("été.jpg", unicodedata.normalize("NFD", "été.jpg")), ("가.png", "\u1100\u1161.png")],
)
def test_names_that_macos_or_windows_would_not_tell_apart_are_the_same(one, other):
    assert one != other and same_name(one) == same_name(other)


@pytest.mark.parametrize(("one", "other"), [("a.png", "A.png"), ("a.b.png", "a.B.png"), ("a/b.png", "b.png")])
def test_other_names_are_others(one, other):
    assert same_name(one) != same_name(other)


def test_bytes_that_are_no_utf8_are_a_fault(tmp_path):
    (tmp_path / os.fsdecode("风景.png".encode("gbk"))).touch()
    (tmp_path / "风景.png").touch()
    ((path, fault),) = name_faults(list_folder(tmp_path))
    assert os.fsencode(path.name) == "风景.png".encode("gbk") and "not UTF-8" in fault


@pytest.mark.parametrize("name", ["a\nb.png", "a\rb.png"])
def test_a_line_break_in_a_name_is_a_fault(tmp_path, name):
    ((path, fault),) = name_faults([tmp_path / name, tmp_path / "a.png"])
    assert path.name == name and "line break" in fault


def test_two_files_of_one_stem_are_a_fault(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "a.PNG", tmp_path / "b.png"]
    assert [path.name for path, _ in name_faults(paths)] == ["a.PNG"]


def test_names_that_differ_in_case_only_need_a_file_system_that_tells_them_apart(tmp_path, monkeypatch):
    require_distinct(tmp_path, ["a", "A", "b"])
    monkeypatch.setattr(folders, "_ignores_case", lambda folder: True)
    require_distinct(tmp_path, ["a", "b"])
    with pytest.raises(InputError, match="takes a and A for one name"):
        require_distinct(tmp_path, ["a", "A", "b"])
