"""The rows of the ablation, the orderings on constructed scores, and the command with a model of random weights."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from networks import Brightness, Redness

from jiidm.cli import main as cli
from jiidm.cli import options
from jiidm.color import color_transfer
from jiidm.config import load as configs
from jiidm.data.images import load_image, save_jpeg
from jiidm.errors import InputError
from jiidm.evaluate import bootstrap
from jiidm.evaluate.findings import Findings
from jiidm.evaluate.score import Evaluators, Examined
from jiidm.evaluate.statistics import Reality
from jiidm.experiments import ablation
from jiidm.experiments import trials as experiment
from jiidm.experiments.trials import Result
from jiidm.inference.inputs import Job
from jiidm.model import files as model
from jiidm.model.files import ModelFile
from jiidm.size import Size
from jiidm.train import checkpoints
from ldm_jittor import checkpoint

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def other_model(smoke_model, tmp_path_factory):
    """The same networks with other weights in the U-Net."""
    stored = checkpoint.load(smoke_model)
    arrays = {name: array * np.float32(1 + 0.1 * name.startswith("unet")) for name, array in stored.arrays.items()}
    path = tmp_path_factory.mktemp("other") / "model.safetensors"
    checkpoint.save(path, arrays, stored.metadata)
    return path


@pytest.fixture(scope="module")
def paper_model(smoke, smoke_model, tmp_path_factory):
    """The same weights under the paper's schedule and one round from its T = 320."""
    tree = configs.to_dict(smoke)
    tree["schedule"]["kind"] = "paper"
    tree["inference"] |= {"rounds": [{"start_timestep": 319, "num_steps": 2, "clip_x0": 4.0}]}
    path = tmp_path_factory.mktemp("paper") / "model.safetensors"
    checkpoint.save(path, checkpoint.load(smoke_model).arrays, {"config": tree})
    return path


class TestRows:
    def test_each_row_has_one_part_more(self, smoke, smoke_model, other_model):
        found = {trial.name: trial for trial in ablation.trials(smoke, smoke_model, other_model, None)}
        assert list(found) == ["DM", "I2I", "I2I+RF", "I2I+RF+CT", "I2I+RF+CT+ME"]
        first, second = smoke.inference.rounds
        rounds = {name: trial.config.inference.rounds for name, trial in found.items()}
        assert rounds["DM"] == (dataclasses.replace(first, start_timestep=999, **ablation.DM_SETTINGS),)
        assert rounds["I2I"] == (first,)
        assert rounds["I2I+RF"] == (first, dataclasses.replace(second, color_transfer=False))
        assert rounds["I2I+RF+CT"] == rounds["I2I+RF+CT+ME"] == smoke.inference.rounds and second.color_transfer
        assert [name for name, trial in found.items() if trial.from_noise] == ["DM"]
        assert [name for name, trial in found.items() if trial.model.path == other_model] == ["I2I+RF+CT+ME"]

    def test_without_a_mean_and_with_the_papers_schedule(self, smoke, smoke_model, paper_model):
        found = ablation.trials(smoke, smoke_model, None, paper_model)
        assert [trial.name for trial in found] == ["DM", "I2I", "I2I+RF", "I2I+RF+CT", "paper"]
        assert found[-1].config == model.stored_config(paper_model) and found[-1].model.path == paper_model

    def test_images_of_the_papers_schedule_are_written_as_the_others_are(self, smoke, smoke_model, paper_model):
        given = configs.override(smoke, ["inference.jpeg_quality=70", "inference.color_space=lalphabeta"])
        found = ablation.trials(given, smoke_model, None, paper_model)
        assert {trial.config.inference.jpeg_quality for trial in found} == {70}
        assert {trial.config.inference.color_space for trial in found} == {"lalphabeta"}
        assert found[-1].config.inference.rounds == model.stored_config(paper_model).inference.rounds

    def test_the_latent_scale_is_the_models_and_the_rounds_are_the_configs(self, smoke, smoke_model, tmp_path):
        stored = checkpoint.load(smoke_model)
        stored.metadata["config"]["autoencoder"]["latent_scale"] = 2.5
        checkpoint.save(tmp_path / "scaled.safetensors", stored.arrays, stored.metadata)
        given = configs.override(smoke, ["inference.rounds.0.start_timestep=333"])
        config = experiment.configure(ModelFile(tmp_path / "scaled.safetensors"), given)
        assert config.autoencoder.latent_scale == 2.5 and config.inference.rounds[0].start_timestep == 333

    def test_where_the_schedule_ends_in_noise_alone_the_chain_starts_where_the_round_does(self, paper_model):
        given = model.stored_config(paper_model)
        two = {
            "inference": {**configs.to_dict(given.inference), "rounds": [{"start_timestep": 319, "num_steps": 2}] * 2}
        }
        given = configs.from_dict(configs.to_dict(given) | two, "test")
        assert ablation.trials(given, paper_model, None, None)[0].config.inference.rounds[0].start_timestep == 319

    def test_what_does_not_fit_is_refused(self, smoke, smoke_model, paper_model, tmp_path):
        def altered(path, section, key, value):
            stored = checkpoint.load(path)
            stored.metadata["config"][section][key] = value
            checkpoint.save(tmp_path / f"{key}.safetensors", stored.arrays, stored.metadata)
            return tmp_path / f"{key}.safetensors"

        two = [{"start_timestep": 319, "num_steps": 2}] * 2
        one = configs.override(smoke, ["inference.rounds=[{start_timestep: 600, num_steps: 3}]"])
        for message, arguments in (
            ("no refinement", (one, smoke_model, None, None)),
            ("another schedule", (smoke, paper_model, None, None)),
            ("another schedule", (smoke, smoke_model, paper_model, None)),
            ("expected paper", (smoke, smoke_model, None, smoke_model)),
            (
                "another autoencoder",
                (smoke, smoke_model, None, altered(paper_model, "autoencoder", "latent_scale", 2.0)),
            ),
            (
                "another diffusion_training",
                (smoke, smoke_model, None, altered(paper_model, "diffusion_training", "max_steps", 9)),
            ),
            (
                "one round from timestep 319",
                (smoke, smoke_model, None, altered(paper_model, "inference", "rounds", two)),
            ),
            ("another unet", (configs.override(smoke, ["unet.spade_hidden=32"]), smoke_model, None, None)),
        ):
            with pytest.raises(InputError, match=message):
                ablation.trials(*arguments)


class TestModels:
    @pytest.fixture
    def run(self, tmp_path, smoke_model, other_model):
        """A finished run whose best step is 300, then 100."""
        made_with = {"score": "fd_seg", "network": "x", "images": 4, "sampling": "y"}
        entries = [{"step": step, "distance": distance, **made_with} for step, distance in ((100, 2.5), (300, 1.5))]
        (tmp_path / "checkpoints").mkdir()
        for step, source in ((100, smoke_model), (300, other_model)):
            shutil.copy(source, checkpoints.checkpoint_path(tmp_path, step))
        (tmp_path / "distances.json").write_text(json.dumps(entries))
        checkpoints.average_best(tmp_path, tmp_path / "model.safetensors", [0.5, 0.5])
        return tmp_path

    def test_the_best_checkpoint_and_the_mean(self, run):
        best = run / "checkpoints" / "step_00000300.safetensors"
        assert ablation.best_checkpoints(run) == (best, run / "model.safetensors")
        best.unlink()
        with pytest.raises(InputError, match="step_00000300.safetensors: no such checkpoint"):
            ablation.best_checkpoints(run)

    def test_a_model_that_is_another_mean_is_refused(self, run):
        entries = json.loads((run / "distances.json").read_text())
        entries.append({**entries[0], "step": 400, "distance": 2.0})
        (run / "distances.json").write_text(json.dumps(entries))
        with pytest.raises(InputError, match="not the mean of the run's two best"):
            ablation.best_checkpoints(run)

    def test_a_run_without_distances_has_its_model_only(self, tmp_path):
        assert ablation.best_checkpoints(tmp_path) == (tmp_path / "model.safetensors", None)


def constructed(name, similarities, accuracies=(90.0,) * 8):
    """A result of eight images with these scores."""
    chosen = bootstrap.resamples(8)
    columns = {"M": np.array(accuracies), "S": np.array(similarities), "fd_seg": np.arange(8.0)}
    scores = {key: float(values.mean()) for key, values in columns.items()}
    card = {"scores": scores, "outputs": {"count": 8}, "absent": {"A": "none"}, "warnings": [], "made_with": {}}
    return Result(name, card, {key: bootstrap.means(values, chosen) for key, values in columns.items()})


class TestExpectations:
    base = np.array([10, 20, 30, 40, 50, 60, 70, 80.0])

    def found(self, **changes):
        similarities = {"DM": self.base - 5, "I2I": self.base, "I2I+RF": self.base - 2, "I2I+RF+CT": self.base + 1}
        results = [constructed(name, values) for name, values in (similarities | changes).items()]
        return {e.text: e for e in ablation.expectations(results)}

    def test_all_hold_where_they_hold(self):
        found = self.found()
        assert len(found) == 9 and all(e.holds for text, e in found.items() if text[0] == "S" or ">= 85" in text)
        assert found["S(I2I) > S(DM)"].margin == pytest.approx(5)
        assert found["S(I2I+RF) < S(I2I)"].margin == pytest.approx(2)
        assert found["S(I2I+RF+CT) > S(I2I+RF)"].margin == pytest.approx(3)

    def test_differences_are_paired_by_image(self):
        """Every image differs by exactly 5, so the difference has no spread, however much the images differ."""
        assert self.found()["S(I2I) > S(DM)"].interval == pytest.approx((5, 5))

    @pytest.mark.parametrize(
        ("text", "changes"),
        [
            ("S(I2I) > S(DM)", {"DM": base + 1}),
            ("S(I2I) > S(DM)", {"DM": base}),
            ("S(I2I+RF) < S(I2I)", {"I2I+RF": base + 0.5}),
            ("S(I2I+RF+CT) > S(I2I+RF)", {"I2I+RF+CT": base - 2.5}),
        ],
    )
    def test_each_fails_where_it_is_turned(self, text, changes):
        expectation = self.found(**changes)[text]
        assert not expectation.holds and f"{text}: does not hold" in expectation.verdict

    @pytest.mark.parametrize(("accuracy", "holds"), [(84.99, False), (85.0, True), (99.0, True)])
    def test_every_i2i_row_is_to_reach_85(self, accuracy, holds):
        rows = ("DM", "I2I", "I2I+RF", "I2I+RF+CT", "I2I+RF+CT+ME", "paper")
        results = [constructed(name, self.base, [accuracy] * 8) for name in rows]
        found = {e.text: e.holds for e in ablation.expectations(results) if ">= 85" in e.text}
        assert found == {f"M({name}) >= 85": holds for name in rows if name.startswith("I2I")}

    def test_m_rises_with_the_reference_and_with_refinement_and_falls_with_colour_transfer(self):
        for accuracies, holds in (((80, 90, 92, 91), True), ((90, 80, 79, 80), False), ((90, 90, 90, 90), False)):
            rows = zip(("DM", "I2I", "I2I+RF", "I2I+RF+CT"), accuracies)
            found = ablation.expectations([constructed(name, self.base, [value] * 8) for name, value in rows])
            paired = {e.text: e.holds for e in found if e.text[0] == "M" and ">= 85" not in e.text}
            assert paired == dict.fromkeys(("M(I2I) > M(DM)", "M(I2I+RF) > M(I2I)", "M(I2I+RF+CT) < M(I2I+RF)"), holds)

    def test_an_uncertain_one_says_so(self):
        expectation = self.found(DM=self.base + np.array([-40, 39, -40, 39, -40, 39, -40, 39]))["S(I2I) > S(DM)"]
        assert expectation.holds and "contains 0" in expectation.verdict
        assert "contains 0" not in self.found()["S(I2I) > S(DM)"].verdict


def test_the_papers_rows_are_those_whose_total_eq_8_gives():
    from jiidm.evaluate.metrics import total_score

    for name, (m, a, fid, s, t) in ablation.PAPER_TABLE_2.items():
        assert total_score(m, a, fid, s) == pytest.approx(t, abs=0.011 if name != "I2I+RF+CT+ME" else 0.06)


def test_the_total_is_drawn_around_the_distance_itself(tmp_path, monkeypatch):
    """Of resamples every distance is too large: at 100, where T stops counting it, T would have no spread."""
    images = {f"{i}": {"M": 90.0, "A": 50.0, "S": 40.0} for i in range(8)}
    scores = {"M": 90.0, "A": 50.0, "S": 40.0, "FID": 60.0, "T": 0.9 * (10 + 0.3 * 70 + 20)}
    reality = Reality(np.zeros((2, 1)), np.zeros(1), np.eye(1))
    examined = Examined({"scores": scores, "images": images}, np.zeros((8, 1)), reality, Findings(), [])
    monkeypatch.setattr(experiment, "examine", lambda *_: examined)
    monkeypatch.setattr(experiment.scorecard, "save", lambda *_: None)
    monkeypatch.setattr(bootstrap, "distances", lambda *_: np.linspace(140, 160, bootstrap.RESAMPLES))
    evaluators = Evaluators(Brightness(), Brightness(), "FID", Redness())
    result = experiment.score_trial("row", [None] * 8, tmp_path, evaluators, tmp_path)
    assert result.interval("FID") == pytest.approx((50.5, 69.5))
    assert result.interval("T") == pytest.approx((scores["T"] - 0.45 * 9.5, scores["T"] + 0.45 * 9.5))


@pytest.mark.slow
class TestCommand:
    @pytest.fixture
    def fakes(self, monkeypatch):
        evaluators = Evaluators(Brightness(), Brightness(), "FID", Redness())
        monkeypatch.setattr(options, "load_evaluators", lambda arguments: evaluators)

    def run(self, out, *more):
        given = ["ablate", "--config", "smoke", "--count", 4, "--out", out, "--device", "cpu", *more]
        return cli.main([str(argument) for argument in given])

    def test_from_models_to_table_picture_and_json(
        self, tmp_path, fakes, smoke_model, other_model, paper_model, landscapes, capsys
    ):
        out, names = tmp_path / "out", [*ablation.ROWS]
        models = ["--checkpoint", smoke_model, "--averaged", other_model, "--paper", paper_model, "--data", landscapes]
        assert self.run(out, *models) == 0
        printed = capsys.readouterr().out
        assert (out / "ablation.md").read_text().strip() in printed and "The paper's Table 2" in printed
        found = json.loads((out / "ablation.json").read_text())
        assert list(found["rows"]) == names and found["outputs"] == 4 and len(found["expectations"]) == 10
        for row in found["rows"].values():
            assert row["scores"].keys() == row["intervals"].keys() == {"M", "A", "S", "FID", "T"}
            assert all(
                low <= row["scores"][key] + 1e-3 and row["scores"][key] - 1e-3 <= high
                for key, (low, high) in row["intervals"].items()
            )
        images = {name: {path.name: path.read_bytes() for path in (out / name).glob("*.jpg")} for name in names}
        assert all(len(found) == 4 for found in images.values())
        assert len({found["synth_000000.jpg"] for found in images.values()}) == len(names)
        assert load_image(out / "comparison.jpg").shape[1] > 9 * 64
        self.check_recolored(out)
        self.check_resumed(out, models, images)
        assert "made with another seed (0, now 1); choose another output folder" in self.refused(
            out, capsys, *models, "--seed", 1
        )

    def check_recolored(self, out):
        references = json.loads((out / "data" / "references.json").read_text())
        for mask, photo in references.items():
            name = mask.replace(".png", ".jpg")
            image, reference = load_image(out / "paper" / name), load_image(out / "data" / "imgs" / photo)
            save_jpeg(out / "expected.jpg", color_transfer(image, reference), 95)
            assert (out / "paper+CT" / name).read_bytes() == (out / "expected.jpg").read_bytes()

    def check_resumed(self, out, models, images):
        for name in ("DM", "paper+CT"):
            (out / name / "synth_000003.jpg").unlink()
        assert self.run(out, *models) == 0
        assert images == {name: {p.name: p.read_bytes() for p in (out / name).glob("*.jpg")} for name in images}

    def refused(self, out, capsys, *more):
        capsys.readouterr()
        assert self.run(out, *more) == 2
        return capsys.readouterr().err

    def test_bad_input_is_told_before_anything_is_painted(
        self, tmp_path, smoke_model, other_model, capsys, monkeypatch
    ):
        monkeypatch.setattr(experiment, "generate", lambda *_: pytest.fail("painted"))
        out = tmp_path / "out"
        assert "--checkpoint" in self.refused(out, capsys, "--averaged", other_model)
        assert "absent.safetensors" in self.refused(out, capsys, "--checkpoint", tmp_path / "absent.safetensors")
        given = ("--checkpoint", smoke_model)
        assert "nowhere" in self.refused(out, capsys, *given, "--data", tmp_path / "nowhere")
        assert "expected paper" in self.refused(out, capsys, *given, "--paper", other_model)
        assert "real photos" in self.refused(tmp_path / "b", capsys, *given, "--real", tmp_path)


def test_recolouring_keeps_the_images_that_are_there(tmp_path, landscapes, smoke, smoke_model):
    jobs = [
        Job(
            landscapes / "labels" / "synth_000000.png",
            landscapes / "imgs" / "synth_000001.jpg",
            Size(48, 64),
            ("a" * 64, "b" * 64),
        )
    ]
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "synth_000000.jpg").write_bytes((landscapes / "imgs" / "synth_000000.jpg").read_bytes())
    trial = experiment.Trial("paper", ModelFile(smoke_model), smoke)
    path, written = tmp_path / "paper+CT" / "synth_000000.jpg", []
    for _ in range(2):
        ablation.recolor(trial, jobs, tmp_path, "paper+CT", 0)
        written.append(path.stat().st_mtime_ns)
    assert written[0] == written[1]


def test_the_papers_demo_differs_from_the_demo_in_schedule_and_sampling_only():
    demo, paper = configs.load_config("demo"), configs.load_config("demo_paper")
    assert paper.schedule.kind == "paper" and paper.schedule.slope == 1e-3
    (spec,) = paper.inference.rounds
    assert spec.start_timestep == 319 and spec.guidance_scale == demo.inference.rounds[0].guidance_scale
    same = {"name": demo.name, "schedule": demo.schedule, "inference": demo.inference}
    assert dataclasses.replace(paper, **same) == demo
