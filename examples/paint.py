"""Generates an image from a mask in the style of a photo, by the model that ships, and writes painted.png.

python examples/paint.py
"""

from __future__ import annotations

from PIL import Image

from jiidm import IIDMPipeline
from jiidm.data.synthetic.dataset import landscape
from jiidm.size import Size

SIZE = Size(height=192, width=256)
SEED = 2024


def main() -> None:
    _, mask = landscape(0, SIZE, seed=SEED)  # uint8 [192,256] of class ids
    photo, _ = landscape(1, SIZE, seed=SEED)  # uint8 RGB [192,256,3]
    pipe = IIDMPipeline.from_pretrained()  # or a model file, or the folder of a training run
    image = pipe(mask, photo, seed=0)
    Image.fromarray(image).save("painted.png")
    print("painted.png")


if __name__ == "__main__":
    main()
