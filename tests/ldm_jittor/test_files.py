from __future__ import annotations

import os

import numpy as np
import pytest
from processes import die_while_writing

from ldm_jittor.files import atomic_path, load_npz, read_json, read_text, save_npz


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


def test_what_a_killed_process_left_goes_when_the_folder_is_written_to(tmp_path):
    die_while_writing(tmp_path / "a.jpg")
    (tmp_path / ".keep").touch()
    assert len(os.listdir(tmp_path)) == 2
    with atomic_path(tmp_path / "b.jpg") as temporary:
        temporary.touch()
    assert sorted(os.listdir(tmp_path)) == [".keep", "b.jpg"]


def test_permissions_follow_the_umask(tmp_path):
    target, plain = tmp_path / "a.txt", tmp_path / "b.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("x")
    plain.write_text("x")
    assert target.stat().st_mode == plain.stat().st_mode


def test_permissions_follow_the_umask_where_a_library_replaces_the_file(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT, 0o600))
    (tmp_path / "b.txt").touch()
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    events = []

    def note(call):
        genuine = getattr(os, call)

        def noted(*arguments, **options):
            place = os.readlink(f"/proc/self/fd/{arguments[0]}") if call == "fsync" else str(arguments[1])
            events.append((call, place))
            return genuine(*arguments, **options)

        monkeypatch.setattr(os, call, noted)

    note("fsync")
    note("replace")
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
    assert events == [
        ("fsync", str(temporary)),
        ("replace", str(tmp_path / "a.txt")),
        ("fsync", str(tmp_path)),
    ]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with atomic_path(tmp_path / "a.txt") as first, atomic_path(tmp_path / "a.txt") as second:
        assert first != second
        second.write_text("second")
        first.write_text("first")
    assert (tmp_path / "a.txt").read_text() == "first"


def test_a_name_of_any_length_can_be_written(tmp_path):
    with atomic_path(tmp_path / ("a" * 251 + ".txt")) as temporary:
        temporary.write_text("x")
    assert os.listdir(tmp_path) == ["a" * 251 + ".txt"]


def test_a_missing_folder_is_an_oserror(tmp_path):
    with pytest.raises(OSError), atomic_path(tmp_path / "missing" / "a.txt"):
        pass


def test_texts_are_read_with_and_without_a_mark(tmp_path):
    for content in ("é\n".encode(), b"\xef\xbb\xbf" + "é\n".encode()):
        (tmp_path / "a.txt").write_bytes(content)
        assert read_text(tmp_path / "a.txt") == "é\n"


def test_what_never_ends_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(OSError, match="not a regular file|directory"):
            read_text(path)


def test_a_text_of_100_mb_is_refused_at_once(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(100 << 20)  # a hole, which takes no room
    with pytest.raises(OSError, match="larger than 32 MiB"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, "1" * 5000, "{", "nul"])
def test_json_that_cannot_be_is_a_value_error(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("given", [(28, "No space left on device"), (30, "Read-only file system", "{temporary}")])
def test_what_the_system_refuses_is_told_with_the_name_of_the_target(tmp_path, given):
    path = tmp_path / "a.txt"
    with pytest.raises(OSError) as caught, atomic_path(path) as temporary:
        raise OSError(*(str(part).format(temporary=temporary) if part != given[0] else part for part in given))
    assert (caught.value.errno, caught.value.strerror, caught.value.filename) == (*given[:2], str(path))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a.txt"):
        (tmp_path / "absent").read_bytes()
    assert str(caught.value.filename) == str(tmp_path / "absent")


def test_a_missing_folder_is_told_with_the_name_of_the_target(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "absent" / "a.txt"):
        pass
    assert caught.value.filename == str(tmp_path / "absent" / "a.txt")


@pytest.mark.parametrize("links", [True, False])
def test_without_replace_the_first_file_stays(tmp_path, links, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.txt"
    with atomic_path(path, replace=False) as temporary:
        temporary.write_text("first")
    with pytest.raises(FileExistsError) as caught, atomic_path(path, replace=False) as temporary:
        temporary.write_text("second")
    assert str(path) in (caught.value.filename, caught.value.filename2)
    assert path.read_text() == "first" and os.listdir(tmp_path) == ["a.txt"]


def test_a_flipped_bit_of_an_npz_file_does_not_pass(tmp_path):
    arrays = {"a": np.arange(40, dtype=np.float32), "b": np.eye(3)}
    save_npz(tmp_path / "a.npz", **arrays)
    content = (tmp_path / "a.npz").read_bytes()
    refused = 0
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        (tmp_path / "b.npz").write_bytes(flipped)
        try:
            found = load_npz(tmp_path / "b.npz")
        except (ValueError, OSError):
            refused += 1
            continue
        for name in found.keys() & arrays.keys():
            np.testing.assert_array_equal(found[name], arrays[name])
    assert refused > 400  # the others are dates and the like


def test_an_npz_file_of_objects_and_one_of_another_kind_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    np.save(tmp_path / "single.npy", np.zeros(3))
    for name in ("objects.npz", "single.npy"):
        with pytest.raises(ValueError, match="damaged or not an .npz file"):
            load_npz(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / "absent.npz")
