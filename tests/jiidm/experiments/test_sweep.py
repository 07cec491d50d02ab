from __future__ import annotations

import json
import math

import pytest
from networks import Brightness
from PIL import Image

from jiidm.cli import main as cli
from jiidm.cli import options
from jiidm.evaluate.score import Evaluators
from jiidm.experiments import sweep


def test_only_the_start_differs_and_no_start_takes_more_steps_than_it_has(smoke, smoke_model):
    found = sweep.trials(smoke, smoke_model, [1, 900, 1, 0])
    assert list(found) == [0, 1, 600, 900]  # the config's own is always among them
    specs = {start: trial.config.inference.rounds for start, trial in found.items()}
    assert all(len(rounds) == 1 for rounds in specs.values())
    assert {start: (spec.start_timestep, spec.num_steps) for start, (spec,) in specs.items()} == {
        0: (0, 1), 1: (1, 2), 600: (600, 3), 900: (900, 3),
    }  # fmt: skip
    assert specs[600] == smoke.inference.rounds[:1]


@pytest.mark.slow
class TestCommand:
    @pytest.fixture(autouse=True)
    def fakes(self, cache, monkeypatch):
        evaluators = Evaluators(Brightness(), Brightness(), "fd_seg")
        monkeypatch.setattr(options, "load_evaluators", lambda arguments: evaluators)

    def command(self, out, smoke_model, *more):
        given = ["sweep", "--config", "smoke", "--checkpoint", smoke_model, "--out", out, "--device", "cpu", *more]
        return [str(argument) for argument in given]

    def test_from_a_model_to_table_plot_and_json(self, tmp_path, smoke_model, capsys):
        out = tmp_path / "out"
        assert cli.main(self.command(out, smoke_model, "--starts", 50, 900, "--count", 3)) == 0
        printed = capsys.readouterr().out
        assert (out / "sweep.md").read_text().strip() in printed and "600 (chosen)" in printed
        assert "fd_seg of 3 images is unreliable" in printed
        found = json.loads((out / "sweep.json").read_text())
        assert found["chosen_start"] == 600 and found["outputs"] == 3
        assert [point["start"] for point in found["points"]] == [50, 600, 900]
        for point in found["points"]:
            abar = math.prod(1 - (1e-4 + t * (2e-2 - 1e-4) / 999) for t in range(point["start"] + 1))
            assert point["sqrt_alpha_bar"] == pytest.approx(math.sqrt(abar))
            assert point["scores"].keys() == point["intervals"].keys() == {"M", "S", "fd_seg"}
        assert sorted(path.name for path in out.glob("start_*")) == ["start_0050", "start_0600", "start_0900"]
        with Image.open(out / "sweep.png") as image:
            assert image.width > 3 * image.height / 1.2

    def test_a_start_outside_the_schedule_is_named(self, tmp_path, smoke_model, refusal):
        for start in (1000, -1):
            line = refusal(self.command(tmp_path / "out", smoke_model, "--starts", start))
            assert f"--starts {start}" in line and "0 to 999" in line
