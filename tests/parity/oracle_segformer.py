"""Run transformers' SegFormer on given weights: python oracle_segformer.py IN.npz OUT.npz.

In: `config` (JSON, SegformerConfig's arguments), `weights/<name>` as in a file of Hugging Face's, normalised images
`x` [B,3,H,W]; `variants` (JSON: name -> SegformerConfig's arguments), of which only names and shapes are reported.
Out: `logits` at a quarter of the size; `classes` [B,H,W]; `features/<stage>` [B,C,h,w]; `shapes/<variant>` (JSON).
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from oracle_inputs import weights
from safetensors.torch import load_file, save_file
from transformers import SegformerConfig, SegformerForSemanticSegmentation


def names_on_disk(model: SegformerForSemanticSegmentation, folder: Path) -> dict[str, list[int]]:
    """The tensors of the file that `model` is saved to; newer versions name their parameters otherwise in memory."""
    model.save_pretrained(folder)
    return {name: list(array.shape) for name, array in load_file(folder / "model.safetensors").items()}


def main(source: str, target: str) -> None:
    inputs = np.load(source)
    outputs = {}
    with tempfile.TemporaryDirectory() as folder:
        SegformerConfig(**json.loads(str(inputs["config"]))).save_pretrained(folder)
        save_file(weights(inputs), Path(folder, "model.safetensors"), {"format": "pt"})
        model, info = SegformerForSemanticSegmentation.from_pretrained(folder, output_loading_info=True)
        # BatchNorm's counter of batches has no part in inference
        missing = [name for name in info["missing_keys"] if not name.endswith("num_batches_tracked")]
        assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], info
        for name, arguments in json.loads(str(inputs["variants"])).items():
            large = SegformerForSemanticSegmentation(SegformerConfig(**arguments))
            outputs[f"shapes/{name}"] = json.dumps(names_on_disk(large, Path(folder)))
    with torch.no_grad():
        answer = model.eval()(torch.from_numpy(inputs["x"]), output_hidden_states=True)
    size = inputs["x"].shape[2:]
    upsampled = torch.nn.functional.interpolate(answer.logits, size=size, mode="bilinear", align_corners=False)
    for stage, features in enumerate(answer.hidden_states):
        outputs[f"features/{stage}"] = features.numpy()
    np.savez(target, logits=answer.logits.numpy(), classes=upsampled.argmax(dim=1).numpy(), **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
