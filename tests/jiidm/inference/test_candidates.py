"""`jiidm infer --candidates N`: the kept images are those of the recorded seeds, whatever way they were made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from processes import PROJECT, die_while_writing

from jiidm.cli import main as cli
from jiidm.data.identity import sha256
from jiidm.data.images import load_image, load_mask
from jiidm.errors import InputError
from jiidm.evaluate import segmenter
from jiidm.inference.candidates import Candidates
from jiidm.inference.folder import OutputFolder
from jiidm.inference.inputs import Job, check_inputs
from jiidm.inference.scorecard import value
from jiidm.pipeline import Input, Result
from jiidm.size import Size

STEMS = ["m0", "m1", "m2"]
COUNT, SEED = 3, 5
CHOICE = ["--candidates", COUNT, "--seed", SEED]


def files(out):
    """Images and lists of candidates."""
    found = [*out.glob("*.jpg"), *(out / "_run" / "candidates").glob("*")]
    return {path.name: path.read_bytes() for path in found}


def records(out):
    return {stem: json.loads((out / "_run" / "candidates" / f"{stem}.json").read_text()) for stem in STEMS}


def histogram(image):
    return np.histogramdd(image.reshape(-1, 3), bins=8, range=[(0, 256)] * 3)[0].ravel()


@pytest.fixture(scope="module")
def chosen(original_inputs, smoke_model, tmp_path_factory):
    """The output folder of one call; read only."""
    out = tmp_path_factory.mktemp("chosen") / "out"
    assert cli.main(original_inputs.command(out, smoke_model, *CHOICE)) == 0
    return out


@pytest.fixture(scope="module")
def alone(original_inputs, smoke_model, tmp_path_factory):
    """Each seed's own output folder."""
    root = tmp_path_factory.mktemp("alone")
    for seed in range(SEED, SEED + COUNT):
        assert cli.main(original_inputs.command(root / str(seed), smoke_model, "--seed", seed)) == 0
    return root


class TestChoice:
    def test_each_image_is_its_recorded_seeds_and_the_best_of_all(self, chosen, alone, original_inputs):
        judge = segmenter.load()
        for job in check_inputs(*original_inputs, None):
            record = records(chosen)[job.stem]
            assert [each["seed"] for each in record["candidates"]] == [5, 6, 7]
            by_hand = {}
            for each in record["candidates"]:
                image = load_image(alone / str(each["seed"]) / f"{job.stem}.jpg")
                accuracy = 100 * (judge.predict(image[None])[0] == load_mask(job.mask)).mean()
                reference = load_image(job.reference)
                similarity = 100 * np.corrcoef(histogram(image), histogram(reference))[0, 1]
                assert (each["M"], each["S"]) == pytest.approx((accuracy, similarity), abs=1e-3)
                by_hand[each["seed"]] = accuracy * 0.3 * (50 + similarity / 2) / 100
                assert each["value"] == pytest.approx(by_hand[each["seed"]], abs=1e-3)
            assert record["seed"] == max(by_hand, key=by_hand.get)
            kept = alone / str(record["seed"]) / f"{job.stem}.jpg"
            assert (chosen / f"{job.stem}.jpg").read_bytes() == kept.read_bytes()
            start = Path("_run", "starts", f"{job.stem}.jpg")
            assert (chosen / start).read_bytes() == (kept.parent / start).read_bytes()

    def test_not_every_mask_keeps_the_same_seed(self, chosen):
        assert len({record["seed"] for record in records(chosen).values()}) > 1

    def test_the_manifest_tells_how_many_and_who_chose(self, chosen):
        candidates = OutputFolder(chosen).made_by()["candidates"]
        assert candidates["count"] == COUNT
        assert candidates["chooser"]["segmenter"]["sha256"] == sha256(segmenter.SHIPPED)

    def test_one_candidate_is_a_plain_call(self, inputs, smoke_model, tmp_path):
        outs = tmp_path / "plain", tmp_path / "one"
        for out, given in zip(outs, ([], ["--candidates", 1])):
            assert cli.main(inputs.command(out, smoke_model, *given)) == 0
        assert files(outs[0]) == files(outs[1])
        manifests = [(out / "_run" / "manifest.json").read_bytes() for out in outs]
        assert manifests[0] == manifests[1] and not (outs[1] / "_run" / "candidates").exists()


class TestSameFiles:
    def test_whatever_the_batch_size(self, chosen, inputs, smoke_model, tmp_path):
        out = tmp_path / "out"
        assert cli.main(inputs.command(out, smoke_model, *CHOICE, "--batch-size", 3)) == 0
        assert files(out) == files(chosen)

    def test_in_shards(self, chosen, inputs, smoke_model, tmp_path):
        out = tmp_path / "out"
        for part in ("2/2", "1/2"):
            assert cli.main(inputs.command(out, smoke_model, *CHOICE, "--shard", part)) == 0
        assert files(out) == files(chosen)

    @pytest.mark.parametrize("stop", [1, 8])
    def test_after_a_stop_at_any_candidate(self, chosen, inputs, smoke_model, tmp_path, monkeypatch, stop):
        out, rate, rated = tmp_path / "out", Candidates._scores, []

        def interrupt(*arguments):
            if len(rated) == stop:
                raise KeyboardInterrupt
            rated.append(rate(*arguments))
            return rated[-1]

        monkeypatch.setattr(Candidates, "_scores", interrupt)
        assert cli.main(inputs.command(out, smoke_model, *CHOICE)) == 130
        images = {path.stem for path in out.glob("*.jpg")}
        assert images == (set() if stop < 6 else {"m0", "m1"})
        assert all((out / "_run" / "candidates" / f"{stem}.json").exists() for stem in images)
        monkeypatch.setattr(Candidates, "_scores", rate)
        assert cli.main(inputs.command(out, smoke_model, *CHOICE)) == 0
        assert files(out) == files(chosen)

    def test_after_a_process_that_died_while_it_wrote_a_list(self, chosen, inputs, smoke_model, tmp_path):
        out = Path(shutil.copytree(chosen, tmp_path / "out"))
        die_while_writing(out / "_run" / "candidates" / "m2.json")
        (out / "m2.jpg").unlink()
        assert files(out) != files(chosen)
        assert cli.main(inputs.command(out, smoke_model, *CHOICE)) == 0
        assert files(out) == files(chosen)

    @pytest.mark.slow
    def test_by_two_processes_at_once(self, chosen, inputs, smoke_model, tmp_path):
        out = tmp_path / "out"
        command = [sys.executable, "-m", "jiidm", *inputs.command(out, smoke_model, *CHOICE)]
        environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
        processes = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
        assert [process.wait(timeout=120) for process in processes] == [0, 0]
        assert files(out) == files(chosen)

    def test_a_deleted_image_is_made_again(self, chosen, inputs, smoke_model, tmp_path, capsys):
        out = Path(shutil.copytree(chosen, tmp_path / "out"))
        (out / "m1.jpg").unlink()
        (out / "_run" / "candidates" / "m1.json").unlink()
        assert cli.main(inputs.command(out, smoke_model, *CHOICE)) == 0
        assert files(out) == files(chosen)
        told = [line for line in capsys.readouterr().out.splitlines() if "is kept" in line]
        assert len(told) == 1 and told[0].startswith(f"m1: seed {records(chosen)['m1']['seed']} is kept")


class TestRefused:
    @pytest.mark.parametrize("count", ["0", "-1", "1.5", "many", "", "٣", "1" + 30 * "0", "1e3", "nan"])
    def test_a_number_that_is_none(self, inputs, smoke_model, tmp_path, count, refusal):
        told = refusal(inputs.command(tmp_path / "out", smoke_model, f"--candidates={count}"))
        assert "--candidates" in told and not (tmp_path / "out").exists()

    def test_other_candidates_need_another_folder(self, chosen, inputs, smoke_model, tmp_path, refusal):
        out = Path(shutil.copytree(chosen, tmp_path / "out"))
        told = refusal(inputs.command(out, smoke_model, "--candidates", 2, "--seed", SEED))
        assert "another candidates.count (3, now 2)" in told
        assert "another candidates" in refusal(inputs.command(out, smoke_model, "--seed", SEED))
        assert files(out) == files(chosen)

    def test_another_chooser_needs_another_folder(self, chosen, inputs, smoke_model, tmp_path, refusal, monkeypatch):
        out = Path(shutil.copytree(chosen, tmp_path / "out"))
        original = segmenter.load

        def another(*given):
            found = original(*given)
            found.sha256 = "f" * 64
            return found

        monkeypatch.setattr(segmenter, "load", another)
        told = refusal(inputs.command(out, smoke_model, *CHOICE))
        assert "another candidates.chooser.segmenter.sha256" in told

    @pytest.mark.parametrize(
        "given, told",
        [
            (["--segmenter", "s.pth"], "--segmenter s.pth: chooses among candidates"),
            (["--aesthetic", "a.pth"], "--aesthetic a.pth: chooses among candidates"),
            (["--candidates", "2", "--clip", "c"], "--clip c: give its --aesthetic too"),
            (["--candidates", "2", "--segmenter-mapping", "m"], "--segmenter-mapping m: give its --segmenter too"),
            (["--candidates", "2", "--figures"], "--figures: goes without --candidates 2"),
            (["--candidates", "2", "--segmenter", "nothing"], "nothing"),
        ],
    )
    def test_options_that_do_not_go_together(self, inputs, smoke_model, tmp_path, given, told, refusal):
        assert told in refusal(inputs.command(tmp_path / "out", smoke_model, *given))
        assert not (tmp_path / "out").exists()


def test_scoring_by_the_one_that_chose_is_warned_of(chosen, inputs, tmp_path, capsys):
    out = Path(shutil.copytree(chosen, tmp_path / "out"))
    given = ["score", out, "--masks", inputs.masks, "--refs", inputs.references, "--device", "cpu"]
    assert cli.main([str(each) for each in given]) == 0
    told = capsys.readouterr().err
    assert "M is too high: SegFormer tiny (segmenter.safetensors) chose each image among 3 candidates" in told


class Fake:
    """A pipeline whose images tell their seed, and which counts what it holds and how often it is called."""

    def __init__(self, batch_size=2):
        self.config = SimpleNamespace(inference=SimpleNamespace(jpeg_quality=95), is_gan=False)
        self.batch_size, self.calls = batch_size, []

    def num_passes(self, inputs, *, wanted=None):
        return 10

    def stream(self, inputs, *, seed, wanted=None, on_step=None):
        self.calls.append((seed, tuple(wanted)))
        for input_ in inputs:
            if input_.name in wanted:
                yield Result(input_.name, np.full((8, 8, 3), seed, np.uint8), None, input_.mask, input_.reference)


class TestStream:
    @pytest.fixture
    def inputs(self):
        blank = np.zeros((8, 8), np.uint8)
        return [Input(name, blank, np.zeros((8, 8, 3), np.uint8)) for name in "abc"]

    def kept(self, tmp_path, inputs, values, **options):
        """The seeds that are kept, by name; values: those of the seeds."""
        folder = OutputFolder(tmp_path)
        folder.prepare()
        files = [tmp_path / name for name in ("a.png", "b.png", "c.png", "x.jpg")]
        for file in files:
            file.write_bytes(b"")
        jobs = [Job(mask, files[-1], Size(8, 8), (sha256(mask), sha256(files[-1]))) for mask in files[:-1]]
        fake = Fake()

        def rate(image, job):
            return {"M": values[int(image[0, 0, 0])], "S": 0.0}

        chosen = Candidates(fake, len(values), rate, folder, jobs)
        return {r.name: int(r.image[0, 0, 0]) for r in chosen.stream(inputs, seed=0, **options)}, fake, chosen

    def test_the_first_of_equals_is_kept(self, tmp_path, inputs):
        assert self.kept(tmp_path, inputs, [1.0, 9.0, 9.0, 3.0])[0] == dict.fromkeys("abc", 1)
        assert json.loads((tmp_path / "_run" / "candidates" / "a.json").read_text())["seed"] == 1

    def test_a_mask_that_changes_meanwhile_is_told(self, tmp_path, inputs):
        stream = Fake.stream

        def change_and_stream(self, *given, **options):
            (tmp_path / "b.png").write_bytes(b"other")
            yield from stream(self, *given, **options)

        with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match="b.png"):
            patch.setattr(Fake, "stream", change_and_stream)
            self.kept(tmp_path, inputs, [1.0, 2.0])

    def test_batch_after_batch_and_only_what_is_wanted(self, tmp_path, inputs):
        kept, fake, chosen = self.kept(tmp_path, inputs, [1.0, 2.0], wanted={"b", "c"})
        assert kept == {"b": 1, "c": 1}
        assert fake.calls == [(0, ("b",)), (1, ("b",)), (0, ("c",)), (1, ("c",))]
        assert chosen.num_passes(inputs, wanted={"b"}) == 20  # progress counts every candidate


def test_a_is_left_out_where_it_was_not_measured():
    assert value({"M": 90.0, "S": 60.0}) == pytest.approx(0.9 * 0.3 * 80)
    assert value({"M": 90.0, "S": 60.0, "A": 50.0}) == pytest.approx(0.9 * (10 + 24))
