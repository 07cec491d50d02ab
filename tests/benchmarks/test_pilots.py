"""Short trainings: each changes what its name says, and the error of a prediction is measured as defined."""

from __future__ import annotations

import pytest

from benchmarks.quality.pilots import CHOICES
from jiidm.config import load as configs


@pytest.mark.parametrize("name", CHOICES)
def test_a_pilot_changes_what_its_name_says(name):
    demo = configs.load_config("demo")
    config = configs.override(demo, CHOICES[name])
    told = (config.unet.prediction, config.diffusion_training.loss_weighting)
    assert told == ("v" if name.startswith("v") else "eps", "min_snr" if name.endswith("snr") else "uniform")
    assert (config.unet.num_res_blocks > demo.unet.num_res_blocks) == (name == "deep")
    same = ["unet.prediction=eps", "diffusion_training.loss_weighting=uniform"]
    back = configs.override(config, [*same, f"unet.num_res_blocks={demo.unet.num_res_blocks}"])
    assert back == demo
