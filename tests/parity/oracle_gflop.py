"""Count the operations of PyTorch's networks on its meta device: python oracle_gflop.py IN.npz OUT.npz.

In: `cases` (JSON, {case: [class, arguments, {input: shape}]}). A class is one of torch_gan.py, torch_gan_judges.py or
torch_unet.py, or "encode" or "decode" for the halves of diffusers' VQModel. Out: `<case>`, parameters and GFLOP.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
import torch_gan
import torch_gan_judges
import torch_unet
from diffusers import VQModel
from torch.utils.flop_counter import FlopCounterMode


def build(kind: str, arguments: dict) -> torch.nn.Module:
    if kind in ("encode", "decode"):
        return VQModel(**arguments)
    return next(getattr(place, kind) for place in (torch_gan, torch_gan_judges, torch_unet) if hasattr(place, kind))(
        **arguments
    )


def run(kind: str, network: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> None:
    if kind == "SEAN":
        image = inputs.pop("image")
        network.Zencoder.model(image)
        height, width = (side // 32 for side in image.shape[2:])
        doublings = (0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5)
        network(**inputs, noise=[torch.empty(1, 1, height << n, width << n) for n in doublings])
    elif kind in ("encode", "decode"):
        getattr(network, kind)(*inputs.values())
    else:
        network(**inputs)


def main(source: str, target: str) -> None:
    answers = {}
    for case, (kind, arguments, shapes) in json.loads(str(np.load(source)["cases"])).items():
        with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
            network = build(kind, arguments).eval()
            run(kind, network, {name: torch.empty(shape) for name, shape in shapes.items()})
        parameters = sum(parameter.numel() for parameter in network.parameters())
        answers[case] = np.array([parameters, counter.get_total_flops() / 1e9])
    np.savez(target, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
