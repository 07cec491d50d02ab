from __future__ import annotations

import os

import pytest

from ldm_jittor.files import atomic_path


def test_the_file_appears_only_when_the_block_ends(tmp_path):
    target = tmp_path / "a.txt"
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".txt"
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_permissions_follow_the_umask(tmp_path):
    target, plain = tmp_path / "a.txt", tmp_path / "b.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("x")
    plain.write_text("x")
    assert target.stat().st_mode == plain.stat().st_mode


def test_a_missing_folder_is_an_oserror(tmp_path):
    with pytest.raises(OSError), atomic_path(tmp_path / "missing" / "a.txt"):
        pass
