"""The GANs' generators at their published widths, and inputs for them; without Jittor or PyTorch."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common.duel import PROJECT
from jiidm.size import Size

SIZE = Size(384, 512)
STYLE_CHANNELS = 512


class Case(NamedTuple):
    """Arguments of jiidm.baselines.build_generator, and those of the twin in tests/parity/torch_gan.py."""

    name: str
    channels: int
    use_vae: bool
    twin: str
    options: dict[str, Any] = {}


_ROUTING = dict(routing_channels=32, fc_channels=32, temperature=0.05)
CASES = {
    "gaugan": Case("gaugan", 64, True, "GauGAN"),
    "clade": Case("clade", 64, True, "CLADEGenerator"),
    "sean": Case("sean", 64, False, "SEAN"),
    "scgan": Case("scgan", 48, True, "SCGAN", dict(experts=(3, 3), spectral_routing=False, position=True, **_ROUTING)),
    "scgan, no VAE": Case(
        "scgan", 32, False, "SCGAN", dict(experts=(3, 4), spectral_routing=True, position=False, **_ROUTING)
    ),
}


def inputs(case: Case) -> dict[str, np.ndarray]:
    """A generated landscape's mask, one-hot [1,29,H,W], and what gives the style.

    SEAN gets another landscape's photo and mask, and the noise of its 18 norms in the order in which they run.
    """
    from jiidm.classes import one_hot
    from jiidm.data.synthetic.dataset import landscape

    random = np.random.default_rng(0)
    given = {"segmap": one_hot(landscape(0, SIZE, seed=0)[1])[None]}
    if case.use_vae:
        given["z"] = random.standard_normal((1, 256), dtype=np.float32)
    if case.name == "sean":
        photo, mask = landscape(1, SIZE, seed=0)
        given["image"] = photo.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        given["image_segmap"] = one_hot(mask)[None]
        for number, halvings in enumerate([5, 5, 4, 4, 4, 4, *np.repeat([3, 2, 1, 0], 3)]):
            sides = (SIZE.height >> halvings, SIZE.width >> halvings)
            given[f"noise{number}"] = random.standard_normal((1, 1, *sides), dtype=np.float32)
    return {name: np.ascontiguousarray(values, np.float32) for name, values in given.items()}


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The same on both sides. Spectral vectors fit their weight, and no branch is idle."""
    sys.path.append(str(PROJECT / "tests" / "helpers"))
    from gan_weights import draw

    return draw(shapes)
