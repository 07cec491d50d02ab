from __future__ import annotations

import json
import os
import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image

from jiidm.cli import main as cli
from jiidm.data import images
from jiidm.data.references import list_masks
from jiidm.inference import scorecard, submit

STEMS = ("a.v1", "b", "c", "d")


def photo(seed, detail=256):
    return np.random.default_rng(seed).integers(0, detail, (24, 32, 3)).astype(np.uint8)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    for number, stem in enumerate(STEMS):
        images.save_jpeg(folder / f"{stem}.jpg", photo(number, detail=40 + 60 * number))
    return folder


@pytest.fixture
def listing(tmp_path):
    path = tmp_path / "label_to_img.json"
    path.write_text(json.dumps({f"{stem}.png": f"photo_{stem}.jpg" for stem in STEMS}))
    return path


def run(out, listing, *more):
    return cli.main(["submit", str(out), str(listing), "--size", "32x24", *map(str, more)])


def give_scores(out, **images_scores):
    card = {"scores": {}, "images": images_scores, "made_with": {}}
    scorecard.save(out, {**card, "outputs": {"sha256": scorecard.digest(out, images_scores)}})


@pytest.mark.parametrize("suffix", ["png", "PNG"])
def test_the_list_may_spell_names_as_another_system(out, listing, suffix):
    (out / "b.jpg").rename(out / f"{unicodedata.normalize('NFD', 'été')}.jpg")
    listing.write_text(json.dumps({f"{stem}.{suffix}": "x.jpg" for stem in ("a.v1", "été", "c", "d")}))
    assert run(out, listing) == 0
    with zipfile.ZipFile(out.parent / "out.zip") as archive:
        assert sorted(archive.namelist()) == sorted(path.name for path in out.glob("*.jpg"))


class TestZip:
    def test_it_holds_every_image_as_it_is_and_nothing_else(self, out, listing):
        (out / "_run").mkdir()
        assert run(out, listing) == 0
        with zipfile.ZipFile(out.parent / "out.zip") as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [f"{stem}.jpg" for stem in STEMS]
            for entry in archive.infolist():
                assert archive.read(entry) == (out / entry.filename).read_bytes()
                assert entry.compress_type == zipfile.ZIP_STORED and entry.external_attr >> 16 == 0o100644

    def test_the_same_images_make_the_same_bytes(self, out, listing, tmp_path):
        run(out, listing)
        first = (tmp_path / "out.zip").read_bytes()
        for number, stem in enumerate(reversed(STEMS)):  # another order on the disk, other times, other modes
            content = (out / f"{stem}.jpg").read_bytes()
            (out / f"{stem}.jpg").unlink()
            (out / f"{stem}.jpg").write_bytes(content)
            os.utime(out / f"{stem}.jpg", (10**9 + number, 10**9 + number))
            os.chmod(out / f"{stem}.jpg", 0o600)
        run(out, listing)
        assert (tmp_path / "out.zip").read_bytes() == first

    def test_a_folder_of_masks_serves_as_the_list(self, out, tmp_path):
        (tmp_path / "masks").mkdir()
        for stem in STEMS:
            images.save_png(tmp_path / "masks" / f"{stem}.png", np.zeros((24, 32), np.uint8))
        assert run(out, tmp_path / "masks") == 0

    def test_the_folders_own_name_may_be_implied(self, out, listing, tmp_path, monkeypatch):
        monkeypatch.chdir(out)
        assert run(".", listing) == 0
        assert (tmp_path / "out.zip").exists()


def _missing(out):
    (out / "b.jpg").unlink()
    return "b.jpg: no such file"


def _surplus(out):
    images.save_jpeg(out / "z.jpg", photo(9))
    return "z.jpg: an image that belongs to no mask"


def _wrong_size(out):
    images.save_jpeg(out / "b.jpg", photo(1)[:, :-1])
    return "b.jpg: size 31x24, must be 32x24"


def _gray(out):
    Image.new("L", (32, 24)).save(out / "b.jpg", quality=95)
    return "b.jpg: mode L, not RGB"


def _corrupt(out):
    (out / "b.jpg").write_bytes((out / "b.jpg").read_bytes()[:-300])
    return "b.jpg: cannot be read"


def _no_jpeg(out):
    Image.fromarray(photo(1)).save(out / "b.jpg", format="PNG")
    return "b.jpg: not a readable JPEG"


def _coarse(out):
    images.save_jpeg(out / "b.jpg", photo(1), quality=75)
    return "b.jpg: JPEG quality about 75, must be at least 90"


FAULTS = [_missing, _surplus, _wrong_size, _gray, _corrupt, _no_jpeg, _coarse]


class TestFaults:
    @pytest.mark.parametrize("damage", FAULTS)
    def test_each_is_named_and_nothing_is_written(self, out, listing, damage, refusal):
        message = damage(out)
        assert message in refusal(["submit", out, listing, "--size", "32x24"])
        assert not (out.parent / "out.zip").exists() and not (out / "selects").exists()

    def test_all_are_listed(self, out, listing, capsys):
        (out / "a.v1.jpg").unlink()
        expected = [_coarse(out), _surplus(out), "a.v1.jpg: no such file"]
        assert run(out, listing) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
        assert all(any(message in line for line in lines) for message in expected)

    def test_the_size_is_the_challenges_unless_told(self, out, listing, capsys):
        assert cli.main(["submit", str(out), str(listing)]) == 2
        assert capsys.readouterr().err.count("size 32x24, must be 512x384") == 4

    def test_an_existing_zip_outlives_a_refused_call(self, out, listing, tmp_path):
        run(out, listing)
        before = (tmp_path / "out.zip").read_bytes()
        _missing(out)
        assert run(out, listing) == 2 and (tmp_path / "out.zip").read_bytes() == before

    @pytest.mark.parametrize(
        "text, message",
        [
            ("{}", "names no masks"),
            ("[]", "one JSON object"),
            ("{", "not a JSON file"),
            ('{"../b.png": "x.jpg"}', "not the name of a mask: '../b.png'"),
            ('{"/b.png": "x.jpg"}', "not the name of a mask: '/b.png'"),
            ('{"b.jpg": "x.jpg"}', "not the name of a mask: 'b.jpg'"),
            ('{".png": "x.jpg"}', "not the name of a mask: '.png'"),
            ('{"b\\nc.png": "x.jpg"}', r"not the name of a mask: 'b\nc.png'"),
        ],
    )
    def test_a_list_that_is_none_is_refused(self, out, listing, text, message, refusal):
        listing.write_text(text)
        assert message in refusal(["submit", out, listing])

    def test_a_missing_folder_or_list_is_refused(self, out, listing, tmp_path, refusal):
        assert "nowhere" in refusal(["submit", tmp_path / "nowhere", listing])
        assert "none.json" in refusal(["submit", out, tmp_path / "none.json"])

    @pytest.mark.parametrize("name", ["out.zip", "out/selects"])
    def test_what_is_in_the_way_is_named(self, out, listing, tmp_path, name, refusal):
        blocker = tmp_path / name
        blocker.mkdir() if blocker.suffix else blocker.touch()
        assert str(blocker) in refusal(["submit", out, listing, "--size", "32x24"])

    @pytest.mark.parametrize("count", [-1, 5])
    def test_more_selected_than_there_are_is_refused(self, out, listing, count, refusal):
        assert f"--select {count}" in refusal(["submit", out, listing, "--size", "32x24", "--select", count])


def selected(out):
    return sorted(path.name for path in (out / "selects").iterdir())


class TestSelection:
    def test_the_scores_decide(self, out, listing, capsys):
        give_scores(
            out,
            **{"a.v1": {"M": 90.0, "S": 50.0}},
            b={"M": 99.0, "S": -90.0},
            c={"M": 80.0, "S": 60.0},
            d={"M": 95.0, "S": 50.0},
        )
        assert run(out, listing) == 0
        # M (50 + S / 2): 6750, 495, 6400, 7125
        assert "d, a.v1, c (highest M (50 + S / 2))" in capsys.readouterr().out
        assert selected(out) == ["a.v1.jpg", "c.jpg", "d.jpg"]
        assert (out / "selects" / "c.jpg").read_bytes() == (out / "c.jpg").read_bytes()

    def test_so_does_the_aesthetic_score_where_measured(self, out, listing, capsys):
        give_scores(
            out, **{stem: {"M": 90.0, "S": 50.0, "A": float(value)} for stem, value in zip(STEMS, (1, 4, 3, 2))}
        )
        assert run(out, listing, "--select", 2) == 0
        assert "b, c (highest M (0.2 A + 0.3 (50 + S / 2)))" in capsys.readouterr().out

    def test_equals_go_by_name(self, out):
        give_scores(out, **{stem: {"M": 90.0, "S": 50.0} for stem in reversed(STEMS)})
        assert submit.rank(out, [out / f"{stem}.png" for stem in reversed(STEMS)])[0] == list(STEMS)

    def test_without_scores_the_largest_files_are_taken(self, out, listing, capsys):
        assert run(out, listing) == 0
        sizes = {path.stem: path.stat().st_size for path in out.glob("*.jpg")}
        expected = sorted(sizes, key=sizes.get, reverse=True)[:3]
        assert f"{', '.join(expected)} (largest file, for want of scores" in capsys.readouterr().out

    def test_a_new_selection_replaces_the_old(self, out, listing):
        run(out, listing, "--select", 4)
        run(out, listing, "--select", 1)
        assert len(selected(out)) == 1

    def test_none_can_be_selected(self, out, listing):
        assert run(out, listing, "--select", 0) == 0
        assert selected(out) == []

    def test_scores_of_other_images_are_refused_before_anything_is_written(self, out, listing, refusal):
        give_scores(out, **{stem: {"M": 1.0, "S": 1.0} for stem in STEMS})
        images.save_jpeg(out / "b.jpg", photo(99))
        assert "changed since" in refusal(["submit", out, listing, "--size", "32x24"])
        give_scores(out, b={"M": 1.0, "S": 1.0})
        assert "scores are of 1 images, not of these 4" in refusal(["submit", out, listing, "--size", "32x24"])
        assert not (out.parent / "out.zip").exists()


def test_the_lists_masks_are_sorted(listing):
    assert [mask.name for mask in list_masks(listing)] == [f"{stem}.png" for stem in STEMS]
