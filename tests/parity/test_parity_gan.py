"""jiidm.model.gan against plain PyTorch networks of the same layout (torch_gan.py, torch_gan_judges.py)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import jittor as jt
import numpy as np
import pytest
from gan_weights import draw
from oracle import ask, assert_close, weights

from jiidm.baselines import build_discriminator, build_encoder, build_generator
from jiidm.baselines.model import evaluating

SIZE = (64, 96)
NOISES = [(2, 1, 2 << min(level, 5), 3 << min(level, 5)) for level in (0, 0, 1, 1, 1, 1, *np.repeat(range(2, 6), 3))]


class Case(NamedTuple):
    ours: Callable[[], jt.Module]
    twin: str
    arguments: dict
    inputs: tuple[str, ...]
    size: tuple[int, int] = SIZE


def generator(name: str, channels: int, use_vae: bool, size: tuple[int, int] = SIZE, **options):
    return lambda: build_generator(name, 29, size, channels, use_vae, **options)


def twin(channels: int, use_vae: bool, size: tuple[int, int] = SIZE, **options) -> dict:
    return {"size": size, "channels": channels, "use_vae": use_vae, **options}


NARROW = dict(routing_channels=6, fc_channels=2)
FACES = dict(experts=(3, 3), temperature=0.05, spectral_routing=False, position=True)
SCENES = dict(experts=(3, 4), temperature=0.05, spectral_routing=True, position=False)
TALL = (64, 128)
CASES = {
    "gaugan": Case(generator("gaugan", 4, True), "GauGAN", twin(4, True), ("segmap", "z")),
    "gaugan, six upsamplings": Case(
        generator("gaugan", 4, False, TALL, upsamplings=6),
        "GauGAN",
        twin(4, False, TALL, upsamplings=6),
        ("segmap",),
        TALL,
    ),
    "clade": Case(generator("clade", 4, False), "CLADEGenerator", twin(4, False), ("segmap",)),
    "clade, distance map": Case(
        generator("clade", 4, True, distance_map=True),
        "CLADEGenerator",
        twin(4, True, distance_map=True),
        ("segmap", "z", "distance"),
    ),
    "sean": Case(
        generator("sean", 4, False, style_channels=12),
        "SEAN",
        {"size": SIZE, "channels": 4, "style_channels": 12},
        ("segmap", "image", "image_segmap", *(f"noise{i}" for i in range(18))),
    ),
    "scgan": Case(generator("scgan", 4, True, **NARROW), "SCGAN", twin(4, True, **NARROW, **FACES), ("segmap", "z")),
    "scgan, no VAE": Case(
        generator("scgan", 4, False, **NARROW), "SCGAN", twin(4, False, **NARROW, **SCENES), ("segmap",)
    ),
    "encoder": Case(lambda: build_encoder("gaugan", 4), "Encoder", {"channels": 4}, ("image",)),
    "two scales": Case(
        lambda: build_discriminator("gaugan", 29, 4),
        "Multiscale",
        {"channels": 4, "strides": [2, 2, 2, 1]},
        ("segmap", "image"),
    ),
    "two scales of sean": Case(
        lambda: build_discriminator("sean", 29, 4),
        "Multiscale",
        {"channels": 4, "strides": [2, 2, 2]},
        ("segmap", "image"),
    ),
    "feature pyramid": Case(
        lambda: build_discriminator("scgan", 29, 4, use_vae=False),
        "FeaturePyramid",
        {"ndf": 4},
        ("segmap", "image"),
    ),
    "oasis": Case(lambda: build_discriminator("oasis", 29, 4), "OASIS", {"channels": 4}, ("image",), TALL),
}


def one_hot(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    labels = rng.integers(0, 29, (2, size[0] // 8, size[1] // 8)).repeat(8, 1).repeat(8, 2)
    return np.eye(29, dtype=np.float32)[labels].transpose(0, 3, 1, 2).copy()


def inputs_of(case: Case) -> dict[str, np.ndarray]:
    # Some draws, 3 and 33 for instance, put the input of a ReLU so near to zero that rounding decides its side
    rng = np.random.default_rng(23)
    pool = {
        "segmap": one_hot(case.size, rng),
        "image_segmap": one_hot(case.size, rng),
        "z": rng.standard_normal((2, 256)),
        "image": rng.uniform(-1, 1, (2, 3, *case.size)),
        "distance": rng.uniform(-1, 1, (2, 2, *case.size)),
        **{f"noise{i}": rng.standard_normal(shape) for i, shape in enumerate(NOISES)},
    }
    return {name: pool[name].astype(np.float32) for name in case.inputs}


def run(network: jt.Module, name: str, inputs: dict[str, np.ndarray]) -> list[jt.Var]:
    """Everything the network gives, in the order of the twin's answers."""
    given = {argument: jt.array(value) for argument, value in inputs.items()}
    if name.startswith("sean"):
        codes = network.style_codes(given["image"], given["image_segmap"])
        planes = iter([value for argument, value in given.items() if argument.startswith("noise")])
        return [network(given["segmap"], style_codes=codes, noise=lambda shape: next(planes)), codes]
    if name.startswith("scgan"):
        return list(network.with_auxiliary(given["segmap"], given.get("z")))
    outputs = network(**given)
    if hasattr(outputs, "logits"):
        return outputs.logits + sum(outputs.features, [])
    return [outputs] if isinstance(outputs, jt.Var) else list(outputs)


class Answer(NamedTuple):
    """Outputs in both modes; what one forward in training left in the buffers; gradients of the outputs' product with
    `directions` there."""

    eval: list[np.ndarray]
    train: list[np.ndarray]
    state: dict[str, np.ndarray]
    grad: dict[str, np.ndarray]
    directions: list[np.ndarray]


def answer(case: str, network: jt.Module) -> Answer:
    with evaluating(network):  # Jittor's own eval() would stop gradients
        evaluated, _, _ = differentiated(case, network)
    trained, gradients, directions = differentiated(case, network)
    buffers = {name: value.numpy() for name, value in network.named_parameters() if value.is_stop_grad()}
    return Answer(evaluated, trained, buffers, gradients, directions)


def differentiated(case: str, network: jt.Module) -> tuple[list[np.ndarray], dict[str, np.ndarray], list[np.ndarray]]:
    """Outputs, gradients of their product with directions, and these.

    Everything is computed at once and in both modes alike: Jittor fuses operators by what is asked for, and each new
    combination is compiled, which takes a second.
    """
    outputs = run(network, case, inputs_of(CASES[case]))
    directions = [np.random.default_rng(4).standard_normal(o.shape).astype(np.float32) for o in outputs]
    loss = sum((output * jt.array(direction)).sum() for output, direction in zip(outputs, directions))
    learned = {name: value for name, value in network.named_parameters() if not value.is_stop_grad()}
    gradients = jt.grad(loss, list(learned.values()))
    jt.sync([*outputs, *gradients])
    named = {name: gradient.numpy() for name, gradient in zip(learned, gradients)}
    return [output.numpy() for output in outputs], named, directions


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[Answer, dict[str, np.ndarray]]]:
    """Ours and PyTorch's, of all cases in one call: importing PyTorch takes seconds."""
    ours, questions = {}, {}
    for name, case in CASES.items():
        network = case.ours()
        parameters = dict(network.named_parameters())
        state = draw({key: tuple(value.shape) for key, value in parameters.items()})
        for key, array in state.items():
            parameters[key].assign(array)
        ours[name] = answer(name, network)
        questions |= {f"{name}/{key}": array for key, array in weights(state).items()}
        questions |= {f"{name}/in/{key}": array for key, array in inputs_of(case).items()}
        questions |= {f"{name}/direction/{i}": array for i, array in enumerate(ours[name].directions)}
    twins = {name: (case.twin, case.arguments) for name, case in CASES.items()}
    theirs = ask("oracle_gan.py", cases=json.dumps(twins), **questions)
    return {
        name: (
            ours[name],
            {key.removeprefix(f"{name}/"): array for key, array in theirs.items() if key.startswith(f"{name}/")},
        )
        for name in CASES
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_outputs(answers, case, mode):
    ours, theirs = answers[case]
    for number, output in enumerate(getattr(ours, mode)):
        assert_close(output, theirs[f"{mode}/{number}"], f"{case}, {mode}, output {number}")


@pytest.mark.parametrize("case", CASES)
def test_running_statistics_and_spectral_vectors_after_a_training_forward(answers, case):
    ours, theirs = answers[case]
    expected = {name.removeprefix("state/") for name in theirs if name.startswith("state/")}
    assert ours.state.keys() == {name for name in expected if ".Spade.param_free_norm." not in name}
    # each array to the scale of its own largest value
    scales = {name: np.abs(theirs[f"state/{name}"]).max() for name in ours.state}
    scaled = [np.ravel(ours.state[name] / scales[name]) for name in scales]
    oracle = [np.ravel(theirs[f"state/{name}"] / scales[name]) for name in scales]
    assert_close(np.concatenate(scaled), np.concatenate(oracle), f"{case}, buffers")


@pytest.mark.parametrize("case", CASES)
def test_gradients(answers, case):
    ours, theirs = answers[case]
    expected = {name.removeprefix("grad/"): value for name, value in theirs.items() if name.startswith("grad/")}
    assert not any(ours.grad[name].any() for name in ours.grad.keys() - expected.keys())
    gradient, oracle = (np.concatenate([side[name].ravel() for name in expected]) for side in (ours.grad, expected))
    assert_close(*(np.array(np.linalg.norm(side)) for side in (gradient, oracle)), f"{case}, gradient norm")
    # rounding may leave a ReLU's input on the other side of zero, which changes single gradients
    assert np.linalg.norm(gradient - oracle) < 0.01 * np.linalg.norm(oracle)
