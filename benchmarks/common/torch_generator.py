"""A GAN's generator in PyTorch."""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch_gan

from benchmarks.common import gans
from benchmarks.common.duel import Work


def generator(arguments: argparse.Namespace) -> Work:
    case = gans.CASES[arguments.generator]
    given = {"size": gans.SIZE, "channels": case.channels, "use_vae": case.use_vae, **case.options}
    if case.name == "sean":
        given = {"size": gans.SIZE, "channels": case.channels, "style_channels": gans.STYLE_CHANNELS}
    network = getattr(torch_gan, case.twin)(**given)
    state = {name: values for name, values in network.state_dict().items() if values.ndim}
    drawn = gans.weights({name: tuple(values.shape) for name, values in state.items()})
    network.load_state_dict({name: torch.from_numpy(values) for name, values in drawn.items()}, strict=False)
    network.eval().to(arguments.device)
    inputs = {name: torch.from_numpy(values).to(arguments.device) for name, values in gans.inputs(case).items()}

    def images() -> torch.Tensor:
        if case.name == "sean":
            noise = [values for name, values in inputs.items() if name.startswith("noise")]
            return network(inputs["segmap"], network.Zencoder(inputs["image"], inputs["image_segmap"]), noise)
        output = network(**inputs)
        return output[0] if case.name == "scgan" else output

    @torch.inference_mode()
    def work() -> dict[str, np.ndarray]:
        return {"image": images().cpu().numpy()}

    return work
