"""Parameter names and shapes at 512x384 against the published networks'."""

from __future__ import annotations

from pathlib import Path

import pytest

from jiidm.baselines import build_discriminator, build_encoder, build_generator

LISTS = Path(__file__).resolve().parents[5] / "shared" / "data" / "released_gan"
SIZE = (384, 512)
WIDE = dict(routing_channels=64, fc_channels=64)


def build(network, name, channels, use_vae, options):
    if network == "G":
        return build_generator(name, 29, SIZE, channels, use_vae, **options)
    return build_encoder(name, channels) if network == "E" else build_discriminator(name, 29, 64, use_vae)


CASES = {
    "gaugan_vae": ("gaugan", 64, True, {}),
    "gaugan_vae_more": ("gaugan", 64, True, {"upsamplings": 6}),
    "gaugan_novae": ("gaugan", 64, False, {}),
    "clade_vae": ("clade", 64, True, {}),
    "clade_icpe_vae": ("clade", 64, True, {"distance_map": True}),
    "clade_novae": ("clade", 64, False, {}),
    "sean": ("sean", 64, False, {}),
    "scgan_vae": ("scgan", 48, True, {}),
    "scgan_novae": ("scgan", 32, False, {}),
    "scgan_vae_ngf64": ("scgan", 64, True, WIDE),
}


def published(case: str, network: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all arrays but two kinds without effect: PyTorch's counters, and a norm SEAN never runs."""
    shapes = {}
    for line in (LISTS / f"{case}.tsv").read_text(encoding="utf-8").splitlines()[2:]:
        owner, name, shape, *_ = line.split("\t")
        if owner == network and not name.endswith("num_batches_tracked") and ".Spade.param_free_norm." not in name:
            shapes[name] = tuple(map(int, shape.split("x")))
    return shapes


@pytest.mark.parametrize(
    "case, network", [(case, network) for case in CASES for network in "GDE" if network != "E" or CASES[case][2]]
)
def test_names_and_shapes_are_the_published_ones(case, network):
    ours = build(network, *CASES[case])
    assert {name: tuple(value.shape) for name, value in ours.named_parameters()} == published(case, network)


def test_oasis_names_and_shapes_are_the_published_ones():
    ours = build_discriminator("oasis", 29, 64)
    assert {name: tuple(value.shape) for name, value in ours.named_parameters()} == published("oasis", "D")
