"""Inception and the Frechet distance against pytorch-fid itself, NIMA against a PyTorch one."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
from oracle import COMPARISONS, ask, assert_close

from jiidm.evaluate import inception, metrics, nima
from ldm_jittor import checkpoint


def random_weights(module: jt.Module, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights that keep the variance of what passes, biases and statistics that all have a say."""
    state = {}
    for name, parameter in module.named_parameters():
        shape = tuple(parameter.shape)
        if len(shape) > 1:
            state[name] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = rng.uniform(0.5, 1.5, shape)
        else:
            state[name] = rng.normal(0, 0.3, shape)
    return {name: array.astype(np.float32) for name, array in state.items()}


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> dict:
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("weights")
    states = {}
    for name, network in (("inception", inception.FidInception()), ("nima", nima.Nima())):
        states[name] = random_weights(network, rng)
        checkpoint.save(folder / name, states[name], {})
    shapes = {"small": (2, 48, 64, 3), "large": (1, 384, 512, 3), "crops": (2, 224, 224, 3)}
    images = {name: rng.integers(0, 256, shape, dtype=np.uint8) for name, shape in shapes.items()}
    mixing = rng.normal(size=(48, 48))
    features = {"features/a": rng.normal(size=(300, 48)), "features/b": rng.normal(size=(200, 48)) @ mixing + 1}
    answers = ask(
        "oracle_evaluators.py",
        **{f"inception/{name}": array for name, array in states["inception"].items()},
        **{f"nima/{name}": array for name, array in states["nima"].items()},
        **images,
        **features,
    )
    return dict(folder=folder, images=images, features=features, answers=answers)


@pytest.mark.parametrize("size", ["small", "large"])
def test_inception_features_equal_those_of_pytorch_fid(case: dict, size: str) -> None:
    ours = inception.load(case["folder"] / "inception").features(case["images"][size])
    assert_close(ours, case["answers"][f"features/{size}"], f"FID Inception-v3, {size} images", "pytorch-fid")


def test_nima_ratings_equal_those_of_pytorch(case: dict) -> None:
    network = nima.load(case["folder"] / "nima").network
    crops = jt.array(case["images"]["crops"].transpose(0, 3, 1, 2).copy()).float32() / 255
    assert_close(network(crops), case["answers"]["ratings"], "NIMA VGG-16", "torchvision")


def test_frechet_distance_equals_that_of_pytorch_fid(case: dict) -> None:
    ours = metrics.frechet_distance(
        *metrics.gaussian(case["features"]["features/a"]), *metrics.gaussian(case["features"]["features/b"])
    )
    oracle = float(case["answers"]["distance"])
    COMPARISONS.append(("Frechet distance", "pytorch-fid", f"{abs(ours - oracle) / oracle:.1e}"))
    assert ours == pytest.approx(oracle, rel=1e-6)
