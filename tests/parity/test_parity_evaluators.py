"""Inception and the Frechet distance against pytorch-fid itself, KID, precision and recall against torch-fidelity, the
clean resizing against clean-fid, NIMA against a PyTorch one."""

from __future__ import annotations

import jittor as jt
import numpy as np
import pytest
from oracle import COMPARISONS, ask, assert_close

from jiidm.evaluate import inception, metrics, neighbours, nima
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
    features |= {"cloud/a": rng.normal(size=(150, 6)), "cloud/b": rng.normal(0.7, 1.3, size=(210, 6))}
    features |= {f"equal/{name}": features[f"features/{name}"][:200] for name in "ab"}
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


def test_kernel_distance_equals_that_of_torch_fidelity(case: dict) -> None:
    """It takes equal numbers of images only."""
    ours, _ = metrics.kernel_distance(case["features"]["equal/a"], case["features"]["equal/b"])
    assert_close(np.array(ours), case["answers"]["kid"], "KID, unbiased", "torch-fidelity")


@pytest.mark.parametrize("score, part", [("precision", 0), ("recall", 1)])
def test_precision_and_recall_equal_those_of_torch_fidelity(case: dict, score: str, part: int) -> None:
    covered = neighbours.coverage(case["features"]["cloud/a"], case["features"]["cloud/b"])
    oracle = case["answers"][score]
    assert 0 < float(oracle) < 1  # or it would say little
    assert_close(np.array(covered[part].mean()), oracle, score, "torch-fidelity")


@pytest.mark.parametrize("size", ["small", "large"])
def test_clean_resizing_equals_that_of_clean_fid(case: dict, size: str) -> None:
    resized = np.stack(
        [[inception.clean_resize(image[..., c]) for c in range(3)] for image in case["images"][size]]
    ).transpose(0, 2, 3, 1)
    assert_close(resized, case["answers"][f"resized/{size}"], f"clean resizing, {size} images", "clean-fid")


def test_features_of_the_clean_input_equal_those_of_pytorch_fids_network(case: dict) -> None:
    ours = inception.load(case["folder"] / "inception", "clean").features(case["images"]["large"])
    assert_close(ours, case["answers"]["clean/large"], "FID Inception-v3, clean input", "clean-fid, pytorch-fid")
