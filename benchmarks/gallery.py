"""The README's pictures, painted by the shipped model as it is configured.

    python benchmarks/gallery.py

docs/img/gallery.jpg shows the first generated landscapes of a seed that the model was not trained on. The reference of
each mask is the next one's photo. docs/img/styles.jpg shows one mask in the styles of several photos.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jittor_side
import numpy as np
import sizes

DOCS = Path(__file__).parent.parent / "docs" / "img"
STYLED = 1
"""Number of the scene whose mask is painted in several styles."""


def gallery(pipeline, rows: int, seed: int, path: Path) -> None:
    from jiidm.classes import colorize
    from jiidm.report.sheets import contact_sheet

    results = pipeline.stream(sizes.scenes(rows, pipeline.config.data.size, seed), seed=0)
    sheet = [[result.reference, colorize(result.mask), result.image] for result in results]
    contact_sheet(sheet, path, ["reference", "mask", "result"])


def styles(pipeline, count: int, seed: int, path: Path) -> None:
    """The reference above, what is painted from the mask below."""
    from jiidm.classes import colorize
    from jiidm.data.synthetic.dataset import landscape
    from jiidm.pipeline import Input
    from jiidm.report.sheets import contact_sheet

    size = pipeline.config.data.size
    mask = landscape(STYLED, size, seed=seed)[1]
    references = [landscape(STYLED + 1 + number, size, seed=seed)[0] for number in range(count)]
    inputs = [Input(f"style{number}", mask, reference) for number, reference in enumerate(references)]
    results = [result.image for result in pipeline.stream(inputs, seed=0)]
    blank = np.full_like(references[0], 255)
    contact_sheet([[blank, *references], [colorize(mask), *results]], path, ["mask", *["style"] * count])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6, help="rows of the gallery (default: 6)")
    parser.add_argument("--styles", type=int, default=4, help="photos whose styles one mask is painted in (default: 4)")
    parser.add_argument("--out", type=Path, default=DOCS, metavar="DIR", help="default: docs/img")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments = parser.parse_args()
    jittor_side.start(arguments.device)
    from jiidm.inference.inputs import DEMO_SEED
    from jiidm.model.files import SHIPPED, load_model
    from jiidm.pipeline import Pipeline

    pipeline = Pipeline(load_model(SHIPPED))
    gallery(pipeline, arguments.rows, DEMO_SEED, arguments.out / "gallery.jpg")
    styles(pipeline, arguments.styles, DEMO_SEED, arguments.out / "styles.jpg")


if __name__ == "__main__":
    main()
