"""The picture of the class mapping in docs/scores.md: ADE20K's 150 classes become the challenge's 29.

    python -m benchmarks.figures.classes

Above is a generated landscape, its classes as numbers of ADE20K, and the mask that the kit makes of them. The houses
are labelled as hovels, to show one of the 122 classes without a counterpart. Below is the whole table.
"""

from __future__ import annotations

import argparse
import colorsys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.common.duel import PROJECT
from jiidm.classes import CLASS_NAMES, PALETTE, colorize
from jiidm.data.synthetic.dataset import landscape
from jiidm.evaluate.mapping import ADE20K_CLASSES, OTHER, ClassMapping, ade20k
from jiidm.size import Size

SIZE, SEED, SCENE = Size(192, 256), 0, 3
RELABELLED, HOVEL = "house", 79
COLUMNS = 6


def to_ade20k(mask: np.ndarray, mapping: ClassMapping) -> np.ndarray:
    """A mask [H,W] of the 28 named classes as ADE20K numbers them, but houses as hovels."""
    numbers = [HOVEL if name == RELABELLED else mapping.numbers[name][0] for name in CLASS_NAMES[:OTHER]]
    return np.array(numbers)[mask]


def colors_of(ids: np.ndarray) -> np.ndarray:
    """Class ids [H,W] of ADE20K in a colour each, uint8 RGB [H,W,3]."""
    turns = np.arange(ADE20K_CLASSES) * 0.618034 % 1  # neighbours in number are far apart in hue
    table = [colorsys.hsv_to_rgb(turn, 0.35 + 0.3 * (number % 3) / 2, 0.9) for number, turn in enumerate(turns)]
    return (np.array(table) * 255).astype(np.uint8)[ids]


def write_names(axes, ids: np.ndarray, name_of: Callable[[int], str]) -> None:
    """Every class's name, where its largest region is deepest."""
    from matplotlib.patheffects import withStroke

    for number in np.unique(ids):
        _, regions, boxes, _ = cv2.connectedComponentsWithStats((ids == number).astype(np.uint8))
        largest = 1 + boxes[1:, cv2.CC_STAT_AREA].argmax()
        inside = np.pad((regions == largest).astype(np.uint8), 1)  # the picture's border is one, too
        y, x = np.unravel_index(cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1].argmax(), ids.shape)
        outline = [withStroke(linewidth=2, foreground="white")]
        axes.text(x, y, name_of(int(number)), ha="center", va="center", fontsize=9, path_effects=outline)


def draw(path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    mapping = ade20k()
    photo, mask = landscape(SCENE, SIZE, seed=SEED)
    ids = to_ade20k(mask, mapping)
    mapped = mapping.table[ids]
    figure = Figure(figsize=(11, 5), dpi=110, layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3.2, 1.8))
    titles = ("generated landscape", "as ADE20K's classes, 0 to 149", "mapped: the challenge's 29 classes")
    for axes, title, picture in zip(above.subplots(1, 3), titles, (photo, colors_of(ids), colorize(mapped))):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    write_names(above.axes[1], ids, str)
    write_names(above.axes[2], mapped, lambda number: CLASS_NAMES[number])

    table = below.subplots()
    rows = -(-len(CLASS_NAMES) // COLUMNS)
    table.set(xlim=(0, COLUMNS), ylim=(rows, 0))
    table.set_axis_off()
    for number, name in enumerate(CLASS_NAMES):
        column, row = divmod(number, rows)
        table.add_patch(Rectangle((column, row + 0.15), 0.15, 0.7, color=PALETTE[number] / 255))
        source = "the other 122" if number == OTHER else str(mapping.numbers[name][0])
        table.text(column + 0.18, row + 0.5, f"{source}  \u2192  {number} {name}", va="center", fontsize=9)
    figure.savefig(path, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "img" / "classes.png", metavar="FILE")
    draw(parser.parse_args().out)


if __name__ == "__main__":
    main()
