"""One training step of GauGAN, both turns: losses, gradients and what it leaves in norms, against PyTorch.

Once with the published losses, VGG-19's of random weights among them, and once with those of OASIS.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from gan_weights import draw
from oracle import ask, assert_close
from test_parity_gan import one_hot

from jiidm.baselines import perceptual
from jiidm.baselines.stage import Batch, GANStage
from jiidm.config import load as configs
from jiidm.model.gan.vgg import VGG19
from jiidm.train import loop
from ldm_jittor import checkpoint
from ldm_jittor.pixels import to_model

WIDTH, HEIGHT, CHANNELS = 128, 64, 4
RATES = {"generator_rate": 1e-5, "discriminator_rate": 4e-5}
"""A tenth of the usual: Adam makes whole steps of gradients that are rounding noise, and the second turn sees them."""
PARTS = {"generator.": "G.", "encoder.": "E."}
CASES = {
    "hinge": ["loss", "adversarial", "feature_matching", "perceptual", "kl", "discriminator"],
    "oasis": ["loss", "adversarial", "kl", "discriminator", "segmentation", "labelmix"],
}
"""The terms of each game."""


class Step(NamedTuple):
    losses: dict[str, float]
    grad: dict[str, np.ndarray]
    buffer: dict[str, np.ndarray]


def theirs_of(name: str, network: str) -> str:
    """PyTorch's name of a parameter: G, E or D before that of the network."""
    if network == "discriminator":
        return f"D.{name}"
    return next(name.replace(ours, theirs, 1) for ours, theirs in PARTS.items() if name.startswith(ours))


def draw_into(network) -> dict[str, np.ndarray]:
    state = draw({key: tuple(value.shape) for key, value in network.named_parameters()})
    checkpoint.load_into(network, state, "drawn")
    return state


def our_step(case: str, batch: Batch, noise: dict[str, np.ndarray], vgg: VGG19) -> tuple[Step, dict[str, np.ndarray]]:
    """What a step of ours gives, and the weights before it by PyTorch's names."""
    training = {"adversarial": case, "discriminator_channels": CHANNELS, **RATES}
    settings = [f"gan_training.{key}={value}" for key, value in training.items()]
    size = f"data.size=[{WIDTH},{HEIGHT}]"
    config = configs.load_config("smoke_gaugan", [size, f"gan.channels={CHANNELS}", *settings])
    loss = perceptual.VGGLoss(vgg) if case == "hinge" else None
    stage = GANStage(config, [], Path(), {}, lambda *_: None, loss)
    stage._draw = lambda numbers, shape, kind, turn=0: noise[kind] if kind == "labelmix" else noise[kind][turn]
    networks = {"generator": stage.network, "discriminator": stage.discriminator}
    states = {}
    for name, network in networks.items():
        found = {theirs_of(key, name).replace(".", "/", 1): value for key, value in draw_into(network).items()}
        states |= {key.replace("D/", f"{case}/", 1): value for key, value in found.items()}
    gradients = {}
    for name, optimizer in stage.optimizers.items():
        step = optimizer.step

        def recorded(number, name=name, optimizer=optimizer, step=step):
            gradients.update({theirs_of(key, name): value.numpy() for key, value in optimizer.gradients.items()})
            step(number)

        optimizer.step = recorded
    losses = loop._update(stage, batch, 0)
    buffers = {
        theirs_of(key, name): value.numpy()
        for name, network in networks.items()
        for key, value in network.named_parameters()
        if value.is_stop_grad()
    }
    return Step(losses, gradients, buffers), states


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[Step, Step]]:
    """Ours and PyTorch's of every case."""
    rng = np.random.default_rng(5)
    images = list(rng.integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8))
    segmaps = one_hot((HEIGHT, WIDTH), rng)
    noise = {"style": rng.standard_normal((2, 2, 256)), "labelmix": rng.standard_normal((2, 29, 1, 1))}
    noise = {name: values.astype(np.float32) for name, values in noise.items()}
    vgg = VGG19()
    states = {f"V/{name}": value for name, value in draw_into(vgg).items()}
    ours = {}
    for case in CASES:
        ours[case], found = our_step(case, Batch(range(2), images, segmaps, None), noise, vgg)
        states |= found
    answers = ask(
        "oracle_gan_training.py",
        **{"cases": list(CASES), "size": (HEIGHT, WIDTH), "channels": CHANNELS, "rates": list(RATES.values())},
        **{"real": to_model(images).numpy(), "segmap": segmaps, "mix": noise["labelmix"]},
        **{"eps": noise["style"][0], "eps2": noise["style"][1]},
        **states,
    )
    return {
        case: (ours[case], Step(*(under(f"{case}/{kind}/", answers) for kind in ("loss", "grad", "buffer"))))
        for case in CASES
    }


def under(prefix: str, answers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in answers.items() if name.startswith(prefix)}


@pytest.fixture(params=CASES)
def case(request) -> str:
    return request.param


@pytest.fixture
def steps(answers, case) -> tuple[Step, Step]:
    return answers[case]


def test_losses(steps, case):
    ours, theirs = steps
    assert set(ours.losses) == set(theirs.losses) == set(CASES[case])
    for name in CASES[case]:
        assert_close(np.array(ours.losses[name]), theirs.losses[name], f"gaugan's step, {case}, {name}")


@pytest.mark.parametrize("network", ["G", "E", "D"])
def test_gradients(steps, case, network):
    ours, theirs = ({k: v for k, v in side.grad.items() if k.startswith(f"{network}.")} for side in steps)
    assert ours.keys() <= theirs.keys()
    gradient, oracle = (np.concatenate([side[name].ravel() for name in theirs]) for side in (ours, theirs))
    norms = (np.array(np.linalg.norm(side)) for side in (gradient, oracle))
    assert_close(*norms, f"gaugan's step, {case}, gradient norm of {network}")
    assert np.linalg.norm(gradient - oracle) < 0.01 * np.linalg.norm(oracle)


def test_running_variances_and_spectral_vectors(steps, case):
    ours, theirs = steps
    assert ours.buffer.keys() == theirs.buffer.keys()
    # the norms cancel the biases before them, whose gradients are rounding noise, of which Adam makes whole steps
    names = [name for name in theirs.buffer if not name.endswith("running_mean")]
    scaled = [
        np.concatenate([np.ravel(side.buffer[name]) / np.abs(theirs.buffer[name]).max() for name in names])
        for side in (ours, theirs)
    ]
    assert_close(*scaled, f"gaugan's step, {case}, buffers")
