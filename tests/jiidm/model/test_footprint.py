from __future__ import annotations

import math
import re

import pytest

from jiidm.config import load as configs
from jiidm.model.build import build_unet
from jiidm.model.footprint import describe


def test_the_released_unet_has_501540358_parameters():
    unet = build_unet(configs.load_config("iidm"))
    assert sum(math.prod(parameter.shape) for parameter in unet.parameters()) == 501_540_358


@pytest.mark.parametrize("name", ["iidm", "iidm_paper"])
def test_full_configs_are_described(name):
    text = describe(configs.load_config(name))
    assert f"config {name}: 512x384 images, 128x96x3 latents" in text
    assert "U-Net: 501.5 M parameters, 689.8 GFLOP a pass" in text
    # latent-diffusion's VQ-f4 has 55.3 M
    assert "autoencoder (vq): 55.3 M parameters, 1242 GFLOP to encode an image and 2219 to decode one" in text
    assert len(re.findall(r"about \d+\.\d GiB", text)) == 2


def gib(text, what):
    return float(re.search(rf"{what}: about ([\d.]+) GiB", text).group(1))


def test_the_estimate_is_at_least_what_the_weights_take_and_grows_with_the_batch():
    one = describe(configs.load_config("iidm"))
    eight = describe(
        configs.load_config("iidm", ["inference.batch_size=8", "diffusion_training.accumulation_steps=16"])
    )
    assert gib(one, "inference") > 557e6 * 4 / 2**30
    assert gib(eight, "inference") > 2 * gib(one, "inference")
    # weights, gradients, two moments and the average, whatever the batch
    assert gib(one, "training the U-Net") > gib(eight, "training the U-Net") > 5 * 501e6 * 4 / 2**30
