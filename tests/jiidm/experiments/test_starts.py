"""The table of starts: its numbers by hand, and the documentation's copy of it."""

from __future__ import annotations

import math

import pytest

from jiidm.cli.options import DIFFUSION_CONFIGS
from jiidm.config import load as configs
from jiidm.errors import InputError
from jiidm.experiments.starts import describe_starts

PROJECT = configs.CONFIG_DIR.parent
# the paper, the released code, ours
IN_DOCS = ("iidm_paper", "iidm_released", "iidm", "demo")


def rows_of(text):
    """The rows of a Markdown table, each {column: cell}."""
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in rows]


def kept_by_linear(timestep):
    """sqrt(abar) of betas from 1e-4 to 0.02."""
    return f"{math.sqrt(math.prod(1 - (1e-4 + t * (2e-2 - 1e-4) / 999) for t in range(timestep + 1))):.3g}"


def test_what_is_left_of_the_reference_at_the_papers_start():
    # abar of T = 320 under beta_t = t / 1000 is (999! / 679!) / 1000^320
    log_alpha_bar = math.lgamma(1000) - math.lgamma(680) - 320 * math.log(1000)
    expected = f"{math.exp(log_alpha_bar / 2):.3g}"
    assert expected == "2.62e-13"
    *rounds, total = rows_of(describe_starts(["iidm_paper"]))
    assert [row["sqrt(abar)"] for row in rounds] == [expected] * 3
    assert [(row["start"], row["noise of"], row["sampler"], row["steps"], row["passes"]) for row in rounds] == [
        ("319", "", "ddpm", "320", "320")
    ] * 3
    assert (total["round"], total["steps"], total["passes"]) == ("all", "960", "960")


@pytest.mark.parametrize("name, starts", [("iidm", (600, 640, 400)), ("iidm_released", (598, 638, 380))])
def test_starts_of_the_released_rounds(name, starts):
    *rounds, total, fast = rows_of(describe_starts([name]))
    for row, start, noise, steps in zip(rounds, starts, (600, 640, 400), (300, 320, 20), strict=True):
        assert row["sqrt(abar)"] == kept_by_linear(noise)
        # guided: every step passes the masked and the null branch
        assert (row["start"], row["steps"], row["passes"]) == (str(start), str(steps), str(2 * steps))
        assert row["noise of"] == ("" if start == noise else str(noise))
    assert (total["steps"], total["passes"]) == ("640", "1280")
    assert (fast["round"], fast["steps"], fast["passes"]) == ("fast", "30", "60")


def test_all_shipped_configs_are_told_apart():
    rows = rows_of(describe_starts(DIFFUSION_CONFIGS))
    assert {row["config"] for row in rows} == set(DIFFUSION_CONFIGS)
    assert len(rows) == sum(len(configs.load_config(name).inference.rounds) + 1 for name in DIFFUSION_CONFIGS) + 4
    assert [row["config"] for row in rows if row["round"] == "fast"] == ["demo", "demo_paper", "iidm", "iidm_released"]


def test_docs_show_what_the_command_prints():
    text = (PROJECT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    assert f"jiidm schedule {' '.join(IN_DOCS)}" in text
    assert describe_starts(IN_DOCS) in text


def test_an_unknown_config():
    with pytest.raises(InputError, match="no_such"):
        describe_starts(["no_such"])
