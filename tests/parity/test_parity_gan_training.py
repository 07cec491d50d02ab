"""One training step of GauGAN, both turns: losses, gradients and what it leaves in norms, against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from gan_weights import draw
from oracle import ask, assert_close
from test_parity_gan import one_hot

from jiidm.baselines.stage import Batch, GANStage
from jiidm.config import load as configs
from jiidm.train import loop
from ldm_jittor import checkpoint
from ldm_jittor.pixels import to_model

WIDTH, HEIGHT, CHANNELS = 96, 64, 4
PARTS = {"generator.": "G.", "encoder.": "E."}


class Step(NamedTuple):
    losses: dict[str, float]
    grad: dict[str, np.ndarray]
    buffer: dict[str, np.ndarray]


def theirs_of(name: str, network: str) -> str:
    """PyTorch's name of a parameter: G, E or D before that of the network."""
    if network == "discriminator":
        return f"D.{name}"
    return next(name.replace(ours, theirs, 1) for ours, theirs in PARTS.items() if name.startswith(ours))


@pytest.fixture(scope="module")
def steps() -> tuple[Step, Step]:
    """Ours and PyTorch's."""
    sizes = f"gan.channels={CHANNELS}", f"gan_training.discriminator_channels={CHANNELS}"
    config = configs.load_config("smoke_gaugan", [f"data.size=[{WIDTH},{HEIGHT}]", *sizes])
    stage = GANStage(config, [], Path(), {}, lambda *_: None)
    rng = np.random.default_rng(5)
    images = list(rng.integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8))
    segmaps = one_hot((HEIGHT, WIDTH), rng)
    eps = rng.standard_normal((2, 2, 256)).astype(np.float32)
    stage._draw = lambda numbers, shape, kind, turn, *_: eps[turn]
    networks = {"generator": stage.network, "discriminator": stage.discriminator}
    states = {}
    for name, network in networks.items():
        state = draw({key: tuple(value.shape) for key, value in network.named_parameters()})
        checkpoint.load_into(network, state, name)
        states |= {theirs_of(key, name).replace(".", "/", 1): value for key, value in state.items()}

    gradients = {}
    for name, optimizer in stage.optimizers.items():
        step = optimizer.step

        def recorded(number, name=name, optimizer=optimizer, step=step):
            found = zip(optimizer.names, optimizer._group["grads"])
            gradients.update({theirs_of(key, name): value.numpy() for key, value in found})
            step(number)

        optimizer.step = recorded
    losses = loop._update(stage, Batch(range(2), images, segmaps, None), 0)
    buffers = {
        theirs_of(key, name): value.numpy()
        for name, network in networks.items()
        for key, value in network.named_parameters()
        if value.is_stop_grad()
    }
    answers = ask(
        "oracle_gan_training.py",
        **{"size": (HEIGHT, WIDTH), "channels": CHANNELS, "rates": (1e-4, 4e-4)},
        **{"real": to_model(images).numpy(), "segmap": segmaps, "eps": eps[0], "eps2": eps[1]},
        **states,
    )
    parts = [
        {name.removeprefix(f"{kind}/"): value for name, value in answers.items() if name.startswith(f"{kind}/")}
        for kind in ("loss", "grad", "buffer")
    ]
    return Step(losses, gradients, buffers), Step(*parts)


@pytest.mark.parametrize("name", ["loss", "adversarial", "feature_matching", "kl", "discriminator"])
def test_losses(steps, name):
    ours, theirs = steps
    assert ours.losses.keys() == theirs.losses.keys()
    assert_close(np.array(ours.losses[name]), theirs.losses[name], f"gaugan's step, {name}")


@pytest.mark.parametrize("network", ["G", "E", "D"])
def test_gradients(steps, network):
    ours, theirs = ({k: v for k, v in side.grad.items() if k.startswith(f"{network}.")} for side in steps)
    assert not any(ours[name].any() for name in ours.keys() - theirs.keys())  # the buffers'
    gradient, oracle = (np.concatenate([side[name].ravel() for name in theirs]) for side in (ours, theirs))
    norms = (np.array(np.linalg.norm(side)) for side in (gradient, oracle))
    assert_close(*norms, f"gaugan's step, gradient norm of {network}")
    assert np.linalg.norm(gradient - oracle) < 0.01 * np.linalg.norm(oracle)


def test_running_variances_and_spectral_vectors(steps):
    ours, theirs = steps
    assert ours.buffer.keys() == theirs.buffer.keys()
    # the norms cancel the biases before them, whose gradients are rounding noise, of which Adam makes whole steps
    names = [name for name in theirs.buffer if not name.endswith("running_mean")]
    scaled = [
        np.concatenate([np.ravel(side.buffer[name]) / np.abs(theirs.buffer[name]).max() for name in names])
        for side in (ours, theirs)
    ]
    assert_close(*scaled, "gaugan's step, buffers")
