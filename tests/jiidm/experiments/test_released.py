"""The released code's defects on the way from round to round."""

from __future__ import annotations

import cv2
import jittor as jt
import numpy as np
import pytest

from jiidm import pipeline
from jiidm.cli import main as cli
from jiidm.config import load as configs
from jiidm.config.schema import ReleasedConfig
from jiidm.experiments import released, trials
from jiidm.experiments.released import Released, hooks_for
from jiidm.experiments.trials import Trial
from jiidm.inference.folder import OutputFolder
from jiidm.model.files import ModelFile, load_model
from jiidm.pipeline import PLAIN, Hooks, Input, Pipeline


@pytest.fixture
def config():
    return configs.load_config("iidm_released")


def photo():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def through_file(image, quality):
    """As OpenCV, whose default is the released code's chroma subsampling too, writes and reads a JPEG."""
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[:, :, ::-1]


def test_the_shipped_config_noises_each_round_one_entry_above_its_loop(config):
    chains = [(range(0, 1000, 1000 // entries), start) for entries, start in ((500, 300), (500, 320), (50, 20))]
    hooks = hooks_for(config)
    for number, (spec, (chain, start)) in enumerate(zip(config.inference.rounds, chains, strict=True)):
        assert (spec.start_timestep, spec.num_steps, spec.spacing) == (chain[start - 1], start, "linspace")
        assert hooks.noised_at(number, spec.start_timestep) == chain[start]


@pytest.mark.parametrize("name", ["iidm", "iidm_paper", "demo", "smoke"])
def test_no_other_shipped_config_has_defects(name):
    assert hooks_for(configs.load_config(name)) is PLAIN


def test_each_defect_can_be_had_alone():
    files, noise = Released(ReleasedConfig(jpeg_between_rounds=75)), Released(ReleasedConfig(noise_timesteps=(7, 8)))
    assert files.noised_at(1, 5) == 5 and noise.noised_at(1, 5) == 8
    x, images = jt.array(np.zeros((1, 3, 2, 2), np.float32)), [photo()]
    assert noise.between_rounds(x) is x and noise.recolored(images) is images


def test_between_rounds_decimals_are_cut_off_and_a_jpeg_is_written(monkeypatch):
    written = []
    monkeypatch.setattr(released, "jpeg_round_trip", lambda image, quality: written.append((image, quality)) or image)
    values = photo() + np.float32(0.7)
    x = jt.array(values.transpose(2, 0, 1)[None] / 127.5 - 1)
    after = Released(ReleasedConfig(jpeg_between_rounds=20)).between_rounds(x)
    [(image, quality)] = written
    assert quality == 20 and np.abs(image.astype(int) - photo()).max() == 0
    np.testing.assert_allclose((after.numpy()[0].transpose(1, 2, 0) + 1) * 127.5, photo(), atol=1e-3)


def test_recolored_images_go_through_another_jpeg():
    [image] = Released(ReleasedConfig(jpeg_between_rounds=20)).recolored([photo()])
    difference = image.astype(int) - through_file(photo(), 20)
    assert np.abs(difference).max() <= 2 and np.abs(image.astype(int) - photo()).mean() > 5


def test_training_is_given_them_for_its_validation(tmp_path, monkeypatch):
    from jiidm.train import report, run

    given = []
    monkeypatch.setattr(report, "write_report", lambda folder: None)
    monkeypatch.setattr(run, "train", lambda *args, **named: given.extend([*args, *named.values()]) or tmp_path)
    command = ["train", "--config", "iidm_released", "--run", str(tmp_path / "run"), "--device", "cpu"]
    assert cli.main(command) == 0
    [hooks] = [value for value in given if isinstance(value, Hooks)]
    assert (hooks.quality, hooks.noise_timesteps) == (75, (600, 640, 400))


def test_every_trial_is_painted_with_its_own_configs(config, smoke, tmp_path, smoke_model, monkeypatch):
    given = []
    monkeypatch.setattr(trials, "generate_images", lambda *_, hooks, **options: given.append(hooks))
    monkeypatch.setattr(OutputFolder, "claim", lambda *_: None)
    model = ModelFile(smoke_model)
    ways = [Trial("defects", model, config), Trial("plain", model, smoke)]
    trials.generate(ways, [], tmp_path, 0)
    defects, plain = given
    assert defects.quality == 75 and plain is PLAIN


def test_the_last_round_is_sampled_at_its_chains_timesteps(config, smoke_model, landscapes, monkeypatch):
    seen = []
    monkeypatch.setitem(pipeline.SAMPLERS, "ddim", lambda denoiser, z, timesteps, **_: seen.append(timesteps) or z)
    given = Input("a", landscapes / "labels" / "synth_000000.png", landscapes / "imgs" / "synth_000000.jpg")
    rounds = config.inference.rounds[-1:]
    assert len(list(Pipeline(load_model(smoke_model)).stream([given], seed=0, rounds=rounds))) == 1
    assert seen == [list(range(380, -1, -20))]
