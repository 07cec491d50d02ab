"""A SegFormer small enough for tests, and a folder of outputs to score."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
from scored import halves, make_jobs

from jiidm.data import images as image_files
from jiidm.evaluate.segformer import Architecture, SegFormer
from jiidm.size import Size
from ldm_jittor import checkpoint


@pytest.fixture(scope="module")
def network() -> SegFormer:
    jt.set_global_seed(1)
    return SegFormer(Architecture((8, 16, 40, 64), (1, 2, 1, 1), 24, 29))


@pytest.fixture(scope="module")
def state(network) -> dict[str, np.ndarray]:
    """Weights in Hugging Face's names, vectors drawn too: a wrong bias or norm shows."""
    rng = np.random.default_rng(0)
    state = checkpoint.state_dict(network)
    for name, array in state.items():
        if array.ndim == 1:
            state[name] = rng.normal(not name.endswith(("bias", "mean")), 0.2, array.shape).astype(np.float32)
    state["decode_head.linear_c.0.proj.weight"] *= 20  # what tells places apart, so that all classes occur
    checkpoint.load_into(network, state, "here")
    return state


@pytest.fixture
def jobs(tmp_path):
    return make_jobs(tmp_path, [Size(48, 64)] * 11)


@pytest.fixture
def real(tmp_path):
    (tmp_path / "real").mkdir()
    rng = np.random.default_rng(1)
    for number in range(9):
        image_files.save_png(tmp_path / "real" / f"{number}.png", halves(rng, Size(48, 64), 10))
    return tmp_path / "real"
