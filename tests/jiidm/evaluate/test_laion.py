"""Files of LAION's predictor; that its numbers are PyTorch's is shown in tests/parity/test_parity_clip.py."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
import torch_files

from jiidm.evaluate import clip, laion
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError

TOWER = clip.Tower(width=64, layers=2, mlp_width=96, patch=8, side=24, embedding=12)


@pytest.fixture(scope="module")
def tower():
    """Random weights by Hugging Face's names."""
    rng = np.random.default_rng(0)
    shapes = {name: tuple(p.shape) for name, p in clip.ImageTower(TOWER).named_parameters()}
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def in_openai_names(state):
    """What OpenAI's own file calls these, part by part."""
    plain = {
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.class_embedding": "class_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
    }
    norms = {"pre_layrnorm": "ln_pre", "post_layernorm": "ln_post", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
    theirs = {
        "visual.proj": state["visual_projection.weight"].T,
        "logit_scale": np.ones((), np.float32),
        "ln_final.weight": np.ones(3, np.float32),
    }
    for name, array in state.items():
        name = name.removeprefix("vision_model.")
        *where, module, kind = name.split(".")
        block = f"visual.transformer.resblocks.{where[2]}." if where[:2] == ["encoder", "layers"] else "visual."
        if name in plain:
            theirs[f"visual.{plain[name]}"] = array
        elif module in norms:
            theirs[f"{block}{norms[module]}.{kind}"] = array
        elif module == "q_proj":
            parts = [state[f"vision_model.{name.replace('q_proj', part)}"] for part in ("q_proj", "k_proj", "v_proj")]
            theirs[f"{block}attn.in_proj_{kind}"] = np.concatenate(parts)
        elif module == "out_proj":
            theirs[f"{block}attn.out_proj.{kind}"] = array
        elif module in ("fc1", "fc2"):
            theirs[f"{block}mlp.{'c_fc' if module == 'fc1' else 'c_proj'}.{kind}"] = array
    return theirs


def write_head(path, **arrays):
    torch_files.save(path, {name.replace("__", "."): array.astype(np.float32) for name, array in arrays.items()})
    return path


@pytest.fixture
def files(tower, tmp_path):
    """A folder of CLIP with its text tower, and the head of one linear layer."""
    (tmp_path / "clip").mkdir()
    beside = {"text_model.final_layer_norm.weight": np.ones(4, np.float32), "logit_scale": np.ones((), np.float32)}
    positions = {"vision_model.embeddings.position_ids": np.arange(10)[None]}
    checkpoint.save(tmp_path / "clip" / "model.safetensors", {**tower, **beside, **positions}, {})
    head = write_head(tmp_path / "head.pth", weight=np.linspace(-9, 9, 12)[None], bias=np.array([5.0]))
    return tmp_path / "clip", head


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)


def test_a_rating_is_a_product_with_the_embedding_of_length_1(files):
    predictor = laion.load(files[1], files[0])
    with jt.no_grad():
        embedding = predictor.tower(clip.prepared(image(), 24)).numpy().astype(np.float64)
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    np.testing.assert_allclose(predictor.ratings(image()), unit @ np.linspace(-9, 9, 12) + 5, rtol=1e-5)
    assert predictor.preprocessing["clip_sha256"] != predictor.sha256
    assert ((predictor.scores(image()) >= 0) & (predictor.scores(image()) <= 1)).all()


def test_openais_names_are_the_same_network(files, tower, tmp_path):
    torch_files.save(tmp_path / "ViT.pt", in_openai_names(tower))
    theirs, ours = (laion.load(files[1], place) for place in (tmp_path / "ViT.pt", files[0]))
    np.testing.assert_allclose(theirs.ratings(image()), ours.ratings(image()), rtol=1e-6)


def test_the_middle_of_the_image_counts():
    pixels = image()
    changed = pixels.copy()
    changed[:, :, :3] = 0  # beyond the square in the middle
    np.testing.assert_allclose(clip.prepared(changed, 24).numpy(), clip.prepared(pixels, 24).numpy())
    assert clip.prepared(pixels, 24).shape == [2, 3, 24, 24]


@pytest.mark.parametrize(
    "arrays, told",
    [
        (dict(weight=np.ones((1, 7)), bias=np.ones(1)), "does not fit clip"),
        (dict(weight=np.ones((2, 12)), bias=np.ones(2)), "does not fit clip"),
        (dict(weight=np.ones((1, 12))), "not the weights of a head"),
        (dict(features__0__weight=np.ones((4, 3, 3, 3))), "not the weights of a head"),
    ],
)
def test_another_head_is_told(files, tmp_path, arrays, told):
    with pytest.raises(CheckpointError, match="bad.pth") as caught:
        laion.load(write_head(tmp_path / "bad.pth", **arrays), files[0])
    assert told in str(caught.value)


def test_another_tower_is_told(files, tmp_path):
    with pytest.raises(CheckpointError, match="head.pth: not the weights of a CLIP image tower"):
        laion.load(files[1], files[1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="model.safetensors"):
        laion.load(files[1], tmp_path / "empty")


@pytest.mark.parametrize(
    "option, value, needs", [("--clip", "c", "--aesthetic"), ("--fid-resize", "clean", "--inception")]
)
def test_half_of_a_pair_of_options_is_refused(inputs, tmp_path, option, value, needs, refusal, monkeypatch):
    from jiidm.inference.folder import OutputFolder

    monkeypatch.setattr(OutputFolder, "faults", lambda self, jobs: [])
    given = ["score", tmp_path / "out", "--masks", inputs.masks, "--refs", inputs.references, "--device", "cpu"]
    line = refusal([*given, option, value])
    assert option in line and f"{needs} too" in line
