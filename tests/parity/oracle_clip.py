"""Run LAION's aesthetic predictor in PyTorch, its image tower by transformers: python oracle_clip.py IN.npz OUT.npz.

In: `config` (JSON, CLIPVisionConfig's arguments), `weights/<name>` of the tower as in a file of Hugging Face's,
`head/<name>` as in the published file, `images` uint8 [N,H,W,3]. Out: `embeddings` [N,D], `ratings` [N].
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
from oracle_inputs import weights
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil


class Predictor(torch.nn.Module):
    """improved-aesthetic-predictor's MLP, with its layers' numbers; the widths are those of the weights."""

    def __init__(self, widths: list[int]):
        super().__init__()
        linear = [torch.nn.Linear(a, b) for a, b in zip(widths, widths[1:])]
        a, b, c, d, e = linear
        dropout = torch.nn.Dropout
        self.layers = torch.nn.Sequential(a, dropout(0.2), b, dropout(0.2), c, dropout(0.1), d, e)


def main(source: str, target: str) -> None:
    inputs = np.load(source)
    config = CLIPVisionConfig(**json.loads(str(inputs["config"])))
    tower = CLIPVisionModelWithProjection(config).eval()
    missing, unexpected = tower.load_state_dict(weights(inputs), strict=False)
    assert not unexpected and all(name.endswith("position_ids") for name in missing), (missing, unexpected)
    head = weights(inputs, "head/")
    matrices = [array for name, array in head.items() if name.endswith("weight")]
    predictor = Predictor([matrices[0].shape[1], *(len(matrix) for matrix in matrices)]).eval()
    predictor.load_state_dict(head)
    size = config.image_size
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    with torch.no_grad():
        pixels = processor(list(inputs["images"]), return_tensors="pt")["pixel_values"]
        embeddings = tower(pixels).image_embeds
        ratings = predictor.layers(embeddings / embeddings.norm(dim=-1, keepdim=True))[:, 0]
    np.savez(target, embeddings=embeddings.numpy(), ratings=ratings.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
