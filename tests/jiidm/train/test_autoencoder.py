"""The autoencoder's stage in the smoke config: stopped and resumed, its codebook, its discriminator."""

from __future__ import annotations

import numpy as np
import pytest
from runs import ctrl_c_at, kill_at, largest_difference, records_of, steps_of

from jiidm.config import load as configs
from jiidm.data.images import load_image
from jiidm.data.pairs import find_pairs, read_split
from jiidm.train import loop
from jiidm.train.autoencoder import AutoencoderStage, train_autoencoder
from ldm_jittor import checkpoint
from ldm_jittor.pixels import to_model

pytestmark = pytest.mark.slow


@pytest.fixture
def data(finished):
    """Training and validation pairs of the finished run."""
    return read_split(finished / "split", find_pairs(finished / "data"))


def test_ctrl_c_saves_the_state(finished, smoke, data, tmp_path, monkeypatch):
    ctrl_c_at(monkeypatch, loop, "_update", 3)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(smoke, *data, tmp_path, {})
    assert checkpoint.load_metadata(tmp_path / "autoencoder_state.safetensors")["step"] == 3
    train_autoencoder(smoke, *data, tmp_path, {})
    assert largest_difference(tmp_path / "autoencoder.safetensors", finished / "autoencoder.safetensors") == 0


@pytest.mark.parametrize("seed", [-1, 2**31, 20240101123])
def test_any_whole_number_is_a_seed(smoke, data, seed):
    stage = AutoencoderStage(configs.override(smoke, [f"seed={seed}"]), data[0], {})
    assert stage.load_batch(0)[0].shape == (32, 32, 3)


def test_crops_have_the_configs_height_and_width(smoke, data):
    config = configs.override(smoke, ["autoencoder_training.crop_size=[48, 32]"])
    crops = AutoencoderStage(config, data[0], {}).load_batch(0)
    assert [crop.shape for crop in crops] == [(32, 48, 3)] * 2


def test_networks_whose_groups_hold_no_thumbnail_start_from_random_weights(smoke, data, caplog):
    """One channel a group erases the colours that a thumbnail would carry."""
    narrow = configs.override(smoke, ["autoencoder.norm_min_channels=1"])
    caplog.set_level("INFO")
    for config, told in ((smoke, False), (narrow, True)):
        stage = AutoencoderStage(config, data[0], {})
        before = stage.network.encoder.conv_in.weight.numpy()
        stage.begin(0)
        assert ("starts from random weights" in caplog.text) == told
        assert np.array_equal(stage.network.encoder.conv_in.weight.numpy(), before) == told


def test_a_killed_run_goes_on_from_its_last_state(finished, smoke, data, tmp_path, monkeypatch):
    monkeypatch.setattr(AutoencoderStage, "log_every", 1)
    often = configs.override(smoke, ["autoencoder_training.checkpoint_every=2"])
    kill_at(monkeypatch, loop, "_update", 6)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(often, *data, tmp_path, {})
    state = checkpoint.load_metadata(tmp_path / "autoencoder_state.safetensors")
    assert state["step"] == 4 and state["updates"] == {"autoencoder": 4, "discriminator": 0}
    assert not (tmp_path / "autoencoder.safetensors").exists()
    train_autoencoder(often, *data, tmp_path, {})
    assert largest_difference(tmp_path / "autoencoder.safetensors", finished / "autoencoder.safetensors") == 0
    assert not (tmp_path / "autoencoder_state.safetensors").exists()
    steps = steps_of(tmp_path / "autoencoder.jsonl", "loss")
    assert len(steps) == len(set(steps)) == smoke.autoencoder_training.max_steps


def test_a_state_of_an_older_version_goes_on(finished, smoke, data, tmp_path, monkeypatch):
    """It does not count updates; the discriminator, which joins in at step 4, has had one at step 5."""
    ctrl_c_at(monkeypatch, loop, "_update", 5)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(smoke, *data, tmp_path, {})
    path = tmp_path / "autoencoder_state.safetensors"
    arrays, metadata = checkpoint.load(path)
    assert metadata["updates"] == {"autoencoder": 5, "discriminator": 1}
    checkpoint.save(path, arrays, {"step": 5})
    train_autoencoder(smoke, *data, tmp_path, {})
    assert largest_difference(tmp_path / "autoencoder.safetensors", finished / "autoencoder.safetensors") == 0


def test_codes_join_in_at_latents_of_their_time(smoke, data, tmp_path, monkeypatch):
    monkeypatch.setattr(AutoencoderStage, "log_every", 1)
    seed, seen = AutoencoderStage._seed_codebook, []

    def seed_and_look(stage):
        seed(stage)
        images = np.stack([load_image(pair.image, smoke.data.size) for pair in stage.train])
        latents = stage.network.encode(to_model(images)).numpy().transpose(0, 2, 3, 1).reshape(-1, 1, 3)
        codes = stage.network.quantize.embedding.weight.numpy()
        seen.append(np.abs(latents - codes).max(axis=2).min(axis=0).max())

    monkeypatch.setattr(AutoencoderStage, "_seed_codebook", seed_and_look)
    train_autoencoder(smoke, *data, tmp_path, {})
    assert len(seen) == 1 and seen[0] < 1e-5
    losses = [record["regularization"] for record in records_of(tmp_path / "autoencoder.jsonl")]
    assert losses[:3] == [0, 0, 0] and min(losses[3:]) > 0
