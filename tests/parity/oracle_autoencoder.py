"""Run diffusers' VQModel or AutoencoderKL on given weights: python oracle_autoencoder.py IN.npz OUT.npz.

In: `model` (its class's name), `config` (JSON, the constructor's arguments), `weights/<name>`, images `x`
[B, 3, H, W], latents `z` [B, C, h, w]. Out: `encoded` (VQ: before quantisation; KL: mean, then
log-variance) and `decoded` (VQ: quantised first).
"""

from __future__ import annotations

import json
import sys

import diffusers
import numpy as np
import torch
from oracle_inputs import weights


def main(source: str, target: str) -> None:
    inputs = np.load(source)
    model = getattr(diffusers, str(inputs["model"]))(**json.loads(str(inputs["config"]))).eval()
    model.load_state_dict(weights(inputs), strict=True)
    with torch.no_grad():
        encoded = model.encode(torch.from_numpy(inputs["x"]))
        encoded = encoded.latents if "latents" in encoded else encoded.latent_dist.parameters
        decoded = model.decode(torch.from_numpy(inputs["z"])).sample
    np.savez(target, encoded=encoded.numpy(), decoded=decoded.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
