"""The 29 classes of the challenge: names in id order, a colour for each, and masks as colours or one-hot."""

from __future__ import annotations

import numpy as np

_CLASSES = (
    ("mountain", (140, 124, 112)),
    ("sky", (135, 196, 240)),
    ("water", (64, 132, 196)),
    ("sea", (28, 88, 160)),
    ("rock", (112, 108, 116)),
    ("tree", (34, 102, 44)),
    ("earth", (134, 96, 62)),
    ("hill", (122, 144, 84)),
    ("river", (86, 170, 214)),
    ("sand", (228, 204, 150)),
    ("land", (174, 148, 104)),
    ("building", (186, 92, 82)),
    ("grass", (112, 182, 66)),
    ("plant", (66, 152, 88)),
    ("person", (236, 64, 122)),
    ("boat", (244, 130, 48)),
    ("waterfall", (196, 232, 246)),
    ("wall", (160, 132, 160)),
    ("pier", (120, 74, 40)),
    ("path", (208, 176, 132)),
    ("lake", (48, 150, 176)),
    ("bridge", (150, 60, 60)),
    ("field", (206, 206, 88)),
    ("road", (84, 84, 92)),
    ("railing", (200, 160, 210)),
    ("fence", (164, 112, 200)),
    ("ship", (216, 84, 20)),
    ("house", (226, 58, 58)),
    ("other", (24, 24, 28)),
)

CLASS_NAMES: tuple[str, ...] = tuple(name for name, _ in _CLASSES)
NUM_CLASSES: int = len(CLASS_NAMES)
PALETTE: np.ndarray = np.array([color for _, color in _CLASSES], dtype=np.uint8)


def colorize(mask: np.ndarray) -> np.ndarray:
    """Show a mask [H,W] of class ids 0-28 in palette colours: uint8 RGB [H,W,3]. Raises IndexError on other ids."""
    return PALETTE[mask]


def one_hot(mask: np.ndarray, num_classes: int = NUM_CLASSES) -> np.ndarray:
    """Mask [H,W] of class ids to float32 [num_classes,H,W] of 0 and 1. Raises ValueError on ids outside."""
    if mask.size and not 0 <= int(mask.min()) <= int(mask.max()) < num_classes:
        raise ValueError(f"labels {mask.min()} to {mask.max()} outside 0-{num_classes - 1}")
    return (mask == np.arange(num_classes)[:, None, None]).astype(np.float32)
