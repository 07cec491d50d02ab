"""LPIPS against torch-fidelity's, from weights in the two published files' form."""

from __future__ import annotations

import numpy as np
import torch_files
from oracle import ask, assert_close

from jiidm.evaluate import lpips


def test_distances_equal_those_of_torch_fidelity(tmp_path) -> None:
    rng = np.random.default_rng(3)
    vgg, lin = {}, {}
    for name, parameter in lpips.LPIPS().named_parameters():
        shape = tuple(parameter.shape)
        if name.startswith("lin"):
            lin[name.replace(".", ".model.1.")] = rng.uniform(0, 1, shape).astype(np.float32)
        else:
            spread = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.3
            vgg[name] = rng.normal(0, spread, shape).astype(np.float32)
    torch_files.save(tmp_path / "vgg16.pth", {**vgg, "classifier.0.bias": np.zeros(3, np.float32)})
    torch_files.save(tmp_path / "vgg.pth", lin)
    images = rng.integers(0, 256, (3, 48, 67, 3), dtype=np.uint8)
    ours = lpips.load([tmp_path / "vgg.pth", tmp_path / "vgg16.pth"]).chain(images)
    inputs = {**{f"vgg/{name}": a for name, a in vgg.items()}, **{f"lin/{name}": a for name, a in lin.items()}}
    assert_close(ours, ask("oracle_lpips.py", images=images, **inputs)["distances"], "LPIPS, VGG-16", "torch-fidelity")
