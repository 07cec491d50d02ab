"""Output folders to score, whose scores are known, and the networks' stand-ins that score them."""

from __future__ import annotations

import numpy as np
from networks import Brightness

from jiidm.data import images
from jiidm.evaluate.score import Evaluators
from jiidm.inference.inputs import Job
from jiidm.size import Size


def halves(rng, size, bright_columns):
    """A dark image whose last columns are bright, each side of one random colour."""
    image = np.empty((*size, 3), np.uint8)
    image[:] = rng.integers(0, 60, 3)
    if bright_columns:
        image[:, -bright_columns:] = rng.integers(200, 256, 3)
    return image


def make_jobs(root, sizes):
    """Outputs whose last quarter is bright, and masks that want a half to be: a quarter of the pixels is wrong."""
    rng, jobs = np.random.default_rng(0), []
    for folder in ("masks", "refs", "out"):
        (root / folder).mkdir()
    for number, size in enumerate(sizes):
        stem = f"m{number:02d}"
        images.save_jpeg(root / "out" / f"{stem}.jpg", halves(rng, size, size.width // 4), quality=100)
        images.save_jpeg(root / "refs" / f"{stem}.jpg", halves(rng, Size(48, 64), 32))
        mask = np.zeros(size, np.uint8)
        mask[:, size.width // 2 :] = 1
        images.save_png(root / "masks" / f"{stem}.png", mask)
        jobs.append(Job(root / "masks" / f"{stem}.png", root / "refs" / f"{stem}.jpg", size, ("a" * 64, "b" * 64)))
    return jobs


def plain(**more):
    return Evaluators(**{"segmenter": Brightness(), "fd_network": Brightness(), "fd_name": "fd_seg", **more})
