"""Run transformers' SegFormer of ADE20K's classes on photos, with its image processor: python oracle_ade.py IN OUT.

In: `config` and `processor` (JSON, the arguments of SegformerConfig and SegformerImageProcessorPil), `weights/<name>`
as in a file of Hugging Face's, `images` uint8 [N,H,W,3]. Out: `classes` [N,H,W] of 0 to 149.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from oracle_inputs import weights
from safetensors.torch import save_file
from transformers import SegformerConfig, SegformerForSemanticSegmentation
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil


def main(source: str, target: str) -> None:
    inputs = np.load(source)
    with tempfile.TemporaryDirectory() as folder:
        SegformerConfig(**json.loads(str(inputs["config"]))).save_pretrained(folder)
        save_file(weights(inputs), Path(folder, "model.safetensors"), {"format": "pt"})
        model = SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    processor = SegformerImageProcessorPil(**json.loads(str(inputs["processor"])))
    images = list(inputs["images"])
    with torch.no_grad():
        answer = model(**processor(images, return_tensors="pt"))
    sizes = [image.shape[:2] for image in images]
    classes = processor.post_process_semantic_segmentation(answer, target_sizes=sizes)
    np.savez(target, classes=np.stack([each.numpy() for each in classes]).astype(np.uint8))


if __name__ == "__main__":
    main(*sys.argv[1:])
