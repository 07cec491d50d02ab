"""Files with all names of the published code: converted, they give the published code's images."""

from __future__ import annotations

import json
from pathlib import Path

import jittor as jt
import numpy as np
import pytest
import torch_files
from gan_weights import draw

from jiidm.baselines.convert import convert_gan
from jiidm.baselines.model import load_gan
from jiidm.config import load as configs
from jiidm.model.files import ModelFile

pytestmark = pytest.mark.slow

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data" / "golden_gan"
SIZE = (96, 128)
LABELS = np.random.default_rng(11).integers(0, 29, (2, 6, 8)).repeat(16, 1).repeat(16, 2)
SEGMAP = np.eye(29, dtype=np.float32)[LABELS].transpose(0, 3, 1, 2).copy()
PHOTOS = (np.random.default_rng(12).integers(0, 256, (2, 3, *SIZE)) / 127.5 - 1).astype(np.float32)
SETTINGS = {
    "gaugan_novae": ["gan.channels=16", "gan.use_vae=false"],
    "clade_novae": ["gan.channels=16", "gan.use_vae=false"],
    "sean": ["gan.channels=16"],
    "scgan_novae": ["gan.channels=8", "gan.use_vae=false", "gan.routing_channels=8", "gan.fc_channels=8"],
}


@pytest.mark.parametrize("case", SETTINGS)
def test_published_file_gives_the_published_images(case, tmp_path):
    shapes = json.loads((RECORDED / f"{case}_keys.json").read_text())["keys"]
    state = draw({name: tuple(shape) for name, shape in shapes.items()})
    counters = {name: np.zeros((), np.int64) for name in state if name.endswith("num_batches_tracked")}
    torch_files.save(tmp_path / "latest_net_G.pth", {**state, **counters})
    config = configs.load_config(case.partition("_")[0], ["data.size=[128,96]", *SETTINGS[case]])
    convert_gan([tmp_path / "latest_net_G.pth"], tmp_path / "model.safetensors", config)
    network = load_gan(ModelFile(tmp_path / "model.safetensors")).network
    segmap = jt.array(SEGMAP)
    style = network.generator.style_codes(jt.array(PHOTOS), segmap) if case == "sean" else None
    image = network(segmap, style, None, None)[0].numpy()
    expected = np.load(RECORDED / f"{case}.npz")["out"]
    assert np.abs(image - expected).max() <= 1e-4 * np.abs(expected).max()
