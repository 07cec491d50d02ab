from __future__ import annotations

import math
import re

import pytest

from jiidm import config as configs
from jiidm.build import build_unet
from jiidm.cli import SHIPPED_CONFIGS
from jiidm.errors import InputError
from jiidm.footprint import describe, describe_starts


def rows_of(text):
    """The rows of a Markdown table, each {column: cell}."""
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_the_released_unet_has_501540358_parameters():
    unet = build_unet(configs.load("iidm"))
    assert sum(math.prod(parameter.shape) for parameter in unet.parameters()) == 501_540_358


@pytest.mark.parametrize("name", ["iidm", "iidm_paper"])
def test_full_configs_are_described(name):
    text = describe(configs.load(name))
    assert f"config {name}: 512x384 images, 128x96x3 latents" in text
    assert "U-Net: 501.5 M parameters" in text
    # latent-diffusion's VQ-f4 has 55.3 M
    assert "autoencoder (vq): 55.3 M parameters" in text
    assert len(re.findall(r"about \d+\.\d GiB", text)) == 2


def gib(text, what):
    return float(re.search(rf"{what}: about ([\d.]+) GiB", text).group(1))


def test_the_estimate_is_at_least_what_the_weights_take_and_grows_with_the_batch():
    one = describe(configs.load("iidm"))
    eight = describe(configs.load("iidm", ["inference.batch_size=8", "diffusion_training.accumulation_steps=16"]))
    assert gib(one, "inference") > 557e6 * 4 / 2**30
    assert gib(eight, "inference") > 2 * gib(one, "inference")
    # weights, gradients, two moments and the average, whatever the batch
    assert gib(one, "training the U-Net") > gib(eight, "training the U-Net") > 5 * 501e6 * 4 / 2**30


def test_what_is_left_of_the_reference_at_the_papers_start():
    # abar of T = 320 under beta_t = t / 1000 is (999! / 679!) / 1000^320
    log_alpha_bar = math.lgamma(1000) - math.lgamma(680) - 320 * math.log(1000)
    expected = f"{math.exp(log_alpha_bar / 2):.3g}"
    assert expected == "2.62e-13"
    rows = rows_of(describe_starts(["iidm_paper"]))
    assert [row["sqrt(abar)"] for row in rows] == [expected] * 3
    assert [(row["start"], row["sampler"], row["steps"], row["passes"]) for row in rows] == [
        ("319", "ddpm", "320", "320")
    ] * 3


def test_starts_of_the_released_rounds():
    rows = rows_of(describe_starts(["iidm"]))
    for row, start, steps in zip(rows, (600, 640, 400), (300, 320, 20), strict=True):
        betas = [1e-4 + t * (2e-2 - 1e-4) / 999 for t in range(start + 1)]
        alpha_bar = math.prod(1 - beta for beta in betas)
        assert row["sqrt(abar)"] == f"{math.sqrt(alpha_bar):.3g}"
        assert row["sqrt(1-abar)"] == f"{math.sqrt(1 - alpha_bar):.3g}"
        # guided: every step passes the masked and the null branch
        assert (row["start"], row["steps"], row["passes"]) == (str(start), str(steps), str(2 * steps))


def test_all_shipped_configs_are_told_apart():
    rows = rows_of(describe_starts(SHIPPED_CONFIGS))
    assert {row["config"] for row in rows} == set(SHIPPED_CONFIGS)
    assert len(rows) == sum(len(configs.load(name).inference.rounds) for name in SHIPPED_CONFIGS)


def test_an_unknown_config():
    with pytest.raises(InputError, match="no_such"):
        describe_starts(["no_such"])
