"""A guided DDIM chain of PyTorch's U-Net and diffusers' scheduler: python oracle_chain.py IN.npz OUT.npz.

In: `config` (JSON, the U-Net's arguments), `weights/<name>`, the start `z` [B, C, H, W], `mask`, `timesteps`,
`guidance_scale`. Out: `sample`, the clean latent.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from oracle_inputs import weights
from oracle_samplers import sample_ddim
from torch_unet import UNet


def main(source: str, target: str) -> None:
    inputs = np.load(source)
    unet = UNet(**json.loads(str(inputs["config"]))).eval()
    unet.load_state_dict(weights(inputs), strict=True)
    z, mask = torch.from_numpy(inputs["z"]), torch.from_numpy(inputs["mask"])
    scale, settings = float(inputs["guidance_scale"]), dict(beta_schedule="linear", clip_sample=False)

    def predict(z: torch.Tensor, timestep: int) -> torch.Tensor:
        masked, null = (unet(z, torch.tensor([timestep] * len(z)), m)[:, : z.shape[1]] for m in (mask, 0 * mask))
        return null + scale * (masked - null)

    timesteps = inputs["timesteps"].tolist()
    with torch.no_grad():
        sample = sample_ddim(settings, predict, z, timesteps, [None] * len(timesteps), 0.0)
    np.savez(target, sample=sample.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
