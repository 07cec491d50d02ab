"""Run torch-fidelity's LPIPS, its downloads replaced: python oracle_lpips.py IN.npz OUT.npz.

In: `vgg/<name>` (torchvision's VGG-16) and `lin/<name>` (LPIPS' own file), `images` uint8 [N,H,W,3]. Out: `distances`
of each image to the one before it [N-1].
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch_vgg  # noqa: F401 (lets torchvision be imported)
from oracle_inputs import weights

sys.path.append(str(Path(sys.prefix, "fid")))

import torchvision  # noqa: E402
from torch_fidelity import sample_similarity_lpips as lpips  # noqa: E402


def main(source: str, target: str) -> None:
    inputs = np.load(source)
    vgg = torchvision.models.vgg16(weights=None)
    vgg.features.load_state_dict(weights(inputs, "vgg/features."))
    lpips.torchvision_load_pretrained_vgg16 = lambda: vgg
    lpips.load_state_dict_from_url = lambda *_, **__: weights(inputs, "lin/")
    network = lpips.SampleSimilarityLPIPS("lpips")
    images = torch.from_numpy(inputs["images"].transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        distances = network(images[1:], images[:-1])
    np.savez(target, distances=distances.flatten().numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
