"""LAION's aesthetic predictor against PyTorch, its image tower against transformers'."""

from __future__ import annotations

import json

import jittor as jt
import numpy as np
import pytest
from oracle import ask, assert_close, randomize, weights
from safetensors.numpy import save_file

from jiidm.evaluate import clip, laion

TOWER = clip.Tower(width=128, layers=2, mlp_width=512, patch=14, side=56, embedding=24)
CONFIG = dict(
    hidden_size=128,
    intermediate_size=512,
    projection_dim=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=56,
    patch_size=14,
    hidden_act="quick_gelu",
)
HEAD = {0: 32, 2: 16, 4: 8, 6: 4, 7: 1}
"""The width of each linear layer by its number in the published head, a tenth or so of it."""


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("laion")
    rng = np.random.default_rng(3)
    tower = randomize(clip.ImageTower(TOWER))
    head, width = {}, TOWER.embedding
    for number, out in HEAD.items():
        head[f"layers.{number}.weight"] = rng.normal(0, width**-0.5, (out, width)).astype(np.float32)
        head[f"layers.{number}.bias"] = rng.normal(0, 1, out).astype(np.float32)
        width = out
    save_file(tower, folder / "model.safetensors")
    save_file(head, folder / "head.safetensors")
    images = rng.integers(0, 256, (3, 90, 121, 3), dtype=np.uint8)
    heads = {f"head/{name}": array for name, array in head.items()}
    answers = ask("oracle_clip.py", config=json.dumps(CONFIG), images=images, **weights(tower), **heads)
    return dict(predictor=laion.load(folder / "head.safetensors", folder), images=images, answers=answers)


def test_embeddings_equal_those_of_transformers(case: dict) -> None:
    with jt.no_grad():
        ours = case["predictor"].tower(clip.prepared(case["images"], TOWER.side))
    assert_close(ours, case["answers"]["embeddings"], "CLIP image embeddings", "transformers")


def test_ratings_equal_those_of_pytorch(case: dict) -> None:
    ours = case["predictor"].ratings(case["images"])
    assert_close(ours, case["answers"]["ratings"], "LAION aesthetic rating", "transformers, PyTorch")
    np.testing.assert_allclose(case["predictor"].scores(case["images"]), (ours / 10).clip(0, 1))
