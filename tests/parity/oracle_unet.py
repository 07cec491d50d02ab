"""Run the PyTorch U-Net on given weights: python oracle_unet.py IN.npz OUT.npz.

In: `config` (JSON, the constructor's arguments), `weights/<name>`, `x`, `timesteps`, `masks/<name>`;
`large_config`, of which only names and shapes are reported. Out: `predictions/<mask>`; `shapes` (JSON).
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from oracle_inputs import weights
from torch_unet import UNet


def main(source: str, target: str) -> None:
    inputs = np.load(source)
    unet = UNet(**json.loads(str(inputs["config"]))).eval()
    unet.load_state_dict(weights(inputs), strict=True)
    x, timesteps = torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["timesteps"])
    predictions = {}
    with torch.no_grad():
        for name in inputs.files:
            if name.startswith("masks/"):
                prediction = unet(x, timesteps, torch.from_numpy(inputs[name]))
                predictions[f"predictions/{name.removeprefix('masks/')}"] = prediction.numpy()

    with torch.device("meta"):
        large = UNet(**json.loads(str(inputs["large_config"])))
    shapes = {name: list(value.shape) for name, value in large.state_dict().items()}
    np.savez(target, shapes=json.dumps(shapes), **predictions)


if __name__ == "__main__":
    main(*sys.argv[1:])
