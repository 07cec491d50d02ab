"""Table 1: which models make which rows, on which masks; and the command with models of random weights."""

from __future__ import annotations

import csv
import json
import shutil

import jittor as jt
import numpy as np
import pytest
from networks import Brightness, Redness
from tiny_gans import tiny

from jiidm.baselines.model import GAN, GANModel, save_gan
from jiidm.cli import main as cli
from jiidm.cli import table1 as command
from jiidm.data.images import load_image
from jiidm.errors import InputError
from jiidm.evaluate import segmenter
from jiidm.evaluate.score import Evaluators
from jiidm.experiments import table1, table1_report
from jiidm.experiments.ablation import DM_SETTINGS
from jiidm.model.files import ModelFile
from ldm_jittor import checkpoint

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def gans(tmp_path_factory):
    """Model files of tiny GANs of random weights."""
    folder, found = tmp_path_factory.mktemp("gans"), {}
    for method in ("clade", "sean"):
        config = tiny(method)
        jt.set_global_seed(1)
        codes = np.zeros((29, 4), np.float32) if method == "sean" else None
        found[method] = folder / f"{method}.safetensors"
        save_gan(found[method], GANModel(config, GAN(config), codes), {"networks": []})
    return found


def told_of(path, provenance):
    stored = checkpoint.load(path)
    checkpoint.save(path, stored.arrays, {**stored.metadata, "provenance": provenance})


class TestRows:
    def test_names_and_order_are_the_papers(self, smoke_model, gans):
        models = [ModelFile(path) for path in (smoke_model, gans["clade"], gans["sean"])]
        found = table1.trials(models)
        assert [trial.name for trial in found] == ["SEAN", "CLADE", "DM", "IIDM"]
        dm, iidm = found[2:]
        assert dm.from_noise and not iidm.from_noise and dm.model is iidm.model
        (round_,) = dm.config.inference.rounds
        assert round_.start_timestep == 999 and round_.clip_x0 == DM_SETTINGS["clip_x0"]

    def test_a_second_model_of_a_method_has_its_configs_name(self, smoke_model, tmp_path):
        other = tmp_path / "other.safetensors"
        stored = checkpoint.load(smoke_model)
        stored.metadata["config"]["name"] = "second"
        checkpoint.save(other, stored.arrays, stored.metadata)
        found = table1.trials([ModelFile(smoke_model), ModelFile(other)])
        assert [trial.name for trial in found] == ["DM", "IIDM", "IIDM-second"]
        with pytest.raises(InputError, match="the second iidm of the config second"):
            table1.trials([ModelFile(path) for path in (smoke_model, other, other)])

    def test_how_the_reference_enters(self, smoke_model, gans):
        found = table1.trials([ModelFile(path) for path in (smoke_model, *gans.values())])
        told = {trial.name: table1.reference_of(trial) for trial in found}
        assert told["DM"] == "not at all" and told["IIDM"] == "noised to timestep 600; colour transfer before round 2"
        assert told["CLADE"] == "the mean style code of the VAE's encoder" and "own mask" in told["SEAN"]


class TestModels:
    def test_every_finished_run_where_none_is_named(self, tmp_path, monkeypatch, smoke_model):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InputError, match="runs: no finished training run"):
            table1.find_models([])
        for name in ("b", "a"):
            (tmp_path / "runs" / name).mkdir(parents=True)
        shutil.copy(smoke_model, tmp_path / "runs" / "b" / "model.safetensors")
        assert [str(model.path) for model in table1.find_models([])] == ["runs/b/model.safetensors"]

    def test_folders_and_files(self, tmp_path, smoke_model):
        shutil.copy(smoke_model, tmp_path / "model.safetensors")
        found = table1.find_models([tmp_path, smoke_model])
        assert [model.path for model in found] == [tmp_path / "model.safetensors", smoke_model]


class TestHeldOutPairs:
    @pytest.fixture
    def run(self, tmp_path, smoke_model, landscapes):
        folder = tmp_path / "run"
        folder.mkdir()
        shutil.copy(smoke_model, folder / "model.safetensors")
        told_of(folder / "model.safetensors", {"data": str(landscapes)})
        return folder

    def test_all_where_no_model_was_trained_on_them(self, smoke_model, landscapes):
        assert len(table1.held_out_pairs(landscapes, [ModelFile(smoke_model)])) == 6

    def test_the_validation_pairs_where_one_was(self, run, landscapes):
        assert cli.main(["data", "split", str(landscapes), str(run / "split"), "--validation-fraction", "0.3"]) == 0
        stems = (run / "split" / "val.txt").read_text().split()
        found = table1.held_out_pairs(landscapes, [ModelFile(run / "model.safetensors")])
        assert [pair.stem for pair in found] == stems and 0 < len(stems) < 6

    def test_a_model_that_cannot_tell_is_refused(self, run, landscapes):
        with pytest.raises(InputError, match=r"model\.safetensors: trained on .*, and its run's split is not there"):
            table1.held_out_pairs(landscapes, [ModelFile(run / "model.safetensors")])


@pytest.mark.slow
class TestCommand:
    @pytest.fixture
    def fakes(self, monkeypatch):
        evaluators = Evaluators(Brightness(), Brightness(), "FID", Redness())
        monkeypatch.setattr(command, "_evaluators", lambda *_: evaluators)

    def run(self, *more):
        return cli.main(["table1", *map(str, more), "--count", "4", "--device", "cpu"])

    def test_from_models_to_table_and_pictures(self, tmp_path, fakes, smoke_model, gans, landscapes, capsys):
        out, names = tmp_path / "out", ["SEAN", "CLADE", "DM", "IIDM"]
        given = [landscapes, smoke_model, *gans.values(), "--out", out]
        assert self.run(*given) == 0
        printed = capsys.readouterr().out
        assert (out / "table1.md").read_text().strip() in printed
        assert "94.15" in printed and "orderings of the paper hold" in printed and "not at all" in printed
        with (out / "table1.csv").open() as file:
            lines = {line["method"]: line for line in csv.DictReader(file)}
        stored = json.loads((out / "table1.json").read_text())
        assert list(lines) == list(stored["rows"]) == names
        for name in names:
            low, value, high = (float(lines[name][key]) for key in ("M_low", "M", "M_high"))
            assert low <= value <= high and value == pytest.approx(stored["rows"][name]["scores"]["M"], abs=1e-3)
            assert stored["rows"][name]["seconds_per_image"] > 0 and int(lines[name]["parameters"]) > 1000
        assert float(lines["IIDM"]["paper_T"]) == 65.27
        for picture in ("table1.png", "figure5.jpg", "figure6.jpg"):
            assert load_image(out / picture).size
        rows, notes = table1.read(out / "table1.json")
        assert table1_report.describe(rows, notes) == (out / "table1.md").read_text().strip()
        images = {path: path.read_bytes() for name in names for path in (out / name).glob("*.jpg")}
        (out / "SEAN" / "synth_000001.jpg").unlink()
        assert self.run(*given) == 0 and images == {path: path.read_bytes() for path in images}

    def test_bad_input_is_told_before_anything_is_painted(self, tmp_path, fakes, smoke_model, gans, refusal):
        out = tmp_path / "out"
        given = ["table1", smoke_model, "--out", out, "--device", "cpu"]
        assert "nowhere: no such data folder" in refusal(["table1", tmp_path / "nowhere", *given[2:]])
        biased = tmp_path / "biased.safetensors"
        shutil.copy(gans["clade"], biased)
        told_of(biased, {"networks": [{"use": "perceptual", "name": "x", "sha256": "b" * 64}]})
        assert "brightness, taught it" in refusal([*given[:2], biased, *given[2:]])
        assert not list(out.glob("*/*"))


def test_the_shipped_segmenter_scores_until_a_judge_ships(monkeypatch, tmp_path):
    judge = tmp_path / "judge.safetensors"
    monkeypatch.setattr(table1, "JUDGE", judge)
    assert table1.default_judge() == segmenter.SHIPPED
    judge.touch()
    assert table1.default_judge() == judge


def test_a_file_that_is_no_table_is_told(tmp_path):
    with pytest.raises(InputError, match="no embedded table is there; `make table1` makes it"):
        table1.read(tmp_path / "absent.json")
    (tmp_path / "other.json").write_text('{"rows": 3}')
    with pytest.raises(InputError, match=r"other\.json: not a table of"):
        table1.read(tmp_path / "other.json")
