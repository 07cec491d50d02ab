"""Which rounds the curves of few steps go through."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.quality import steps
from jiidm.config import load as configs


def test_a_chain_changes_how_rounds_are_sampled_and_nothing_else():
    config = configs.load_config("iidm")
    chain = steps.Chain("UniPC", "unipc", "logsnr", interval=(100, 999))
    found = steps.rounds_of(config, chain, 25)
    assert [round_.num_steps for round_ in found] == [25, 25, 20]  # the third has no more
    assert {(r.sampler, r.spacing, r.guidance_interval) for r in found} == {("unipc", "logsnr", (100, 999))}
    for round_, before in zip(found, config.inference.rounds, strict=True):
        kept = {name: getattr(before, name) for name in ("num_steps", "sampler", "spacing", "guidance_interval")}
        assert dataclasses.replace(round_, **kept) == before


def test_images_are_compared_in_grey_levels():
    image = np.zeros((2, 4, 4, 3), np.uint8)
    grey, psnr = steps.image_distance(image, image + np.uint8(10))
    assert grey == 10 and psnr == pytest.approx(20 * np.log10(25.5))
    assert steps.image_distance(image, image) == (0, np.inf)
