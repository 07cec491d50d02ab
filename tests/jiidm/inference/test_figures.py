"""Figures 3, 4 and 7 show what the pipeline did, round by round."""

from __future__ import annotations

import numpy as np
import pytest

from jiidm.cli import main as cli
from jiidm.color import color_transfer
from jiidm.config import load as configs
from jiidm.data.images import load_image
from jiidm.inference import figures
from jiidm.model.files import load_model
from jiidm.pipeline import Input, Pipeline
from jiidm.size import Size


def test_rounds_are_what_was_made_on_the_way(original_inputs, smoke_model):
    pipeline = Pipeline(load_model(smoke_model))
    masks, photos = sorted(original_inputs.masks.glob("*.png")), original_inputs.references.parent / "imgs"
    given = [Input(mask.stem, mask, photos / f"photo{i}.jpg") for i, mask in enumerate(masks)]
    plain = list(pipeline.stream(given, seed=0))
    shown = list(pipeline.stream(given, seed=0, show_rounds=True))
    first = list(pipeline.stream(given, seed=0, rounds=pipeline.config.inference.rounds[:1]))
    for before, after, alone in zip(plain, shown, first):
        assert before.rounds is None and (before.image == after.image).all()
        one, two = after.rounds
        assert one.transfer is None and (one.image == alone.image).all() and (two.image == after.image).all()
        assert (two.transfer[0] == one.image).all()
        assert (two.transfer[1] == color_transfer(one.image, after.reference, "lab8")).all()


def test_larger_sizes_are_what_the_networks_can_halve(smoke):
    assert figures.larger_sizes(configs.load_config("demo")) == [Size(288, 384), Size(384, 512)]
    assert figures.larger_sizes(smoke) == [Size(72, 96), Size(96, 128)]
    assert figures.larger_sizes(configs.override(smoke, ["data.size=[40, 32]"])) == [Size(48, 64), Size(64, 80)]
    for size in figures.larger_sizes(configs.load_config("iidm")):
        configs.load_config("iidm", [f"data.size=[{size.width},{size.height}]"])


@pytest.mark.slow
def test_command_draws_them_and_changes_no_image(inputs, smoke_model, tmp_path):
    out, plain = tmp_path / "out", tmp_path / "plain"
    assert cli.main(inputs.command(plain, smoke_model)) == 0
    assert cli.main(inputs.command(out, smoke_model, "--figures")) == 0
    images = [{path.name: path.read_bytes() for path in folder.glob("*.jpg")} for folder in (plain, out)]
    assert images[0] == images[1] and len(images[0]) == 3
    names = {path.name for path in (out / "_run").glob("figure*")}
    assert names == {"figure3.jpg", "figure4.jpg", "figure7_96x72.jpg", "figure7_128x96.jpg"}
    large = load_image(out / "_run" / "figure7_128x96.jpg")
    assert large.shape == (2 * 100 - 4, 3 * 132 - 4, 3)
    before = (out / "_run" / "figure3.jpg").read_bytes()
    assert cli.main(inputs.command(out, smoke_model, "--figures")) == 0  # of finished images, too
    assert (out / "_run" / "figure3.jpg").read_bytes() == before


@pytest.mark.slow
def test_without_colour_transfer_there_is_no_figure_4(inputs, smoke_model, tmp_path, caplog):
    plain = "inference.rounds=[{start_timestep: 600, num_steps: 2}]"
    with caplog.at_level("INFO"):
        assert cli.main(inputs.command(tmp_path / "out", smoke_model, "--figures", "--set", plain)) == 0
    assert not (tmp_path / "out" / "_run" / "figure4.jpg").exists() and "figure 4 is not drawn" in caplog.text


def test_a_shard_draws_none(inputs, smoke_model, tmp_path, refusal):
    told = refusal(inputs.command(tmp_path / "out", smoke_model, "--figures", "--shard", "1/2"))
    assert "--figures: goes without --shard" in told
    assert not np.any([path.name == "out" for path in tmp_path.iterdir()])
