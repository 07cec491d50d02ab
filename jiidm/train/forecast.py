"""How long an epoch takes on more ranks, from steps measured on these."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import jittor as jt
import numpy as np

from jiidm.classes import NUM_CLASSES
from jiidm.config.schema import Config
from jiidm.data.latents import LatentDataset
from jiidm.model.build import build_autoencoder
from jiidm.report.tables import table
from jiidm.system import ranks
from jiidm.train.diffusion import DiffusionStage
from ldm_jittor.autoencoder import LatentSpace

PHOTOS = 10_000
"""The challenge's training set."""
PREDICTED = (1, 2, 4, 8)
ASSUMED_BANDWIDTH = 10e9
"""Bytes a second between neighbours where one rank alone has measured: what PCI Express 4 gives. NVLink gives more."""
REPEATS = 3


class _RandomLatents(LatentDataset):
    """As long as the training set, and as fast as a cache in memory."""

    def __init__(self, config: Config):
        super().__init__("", [""] * PHOTOS, 1.0)
        rng, size = np.random.default_rng(0), config.latent_size
        latent = rng.standard_normal((config.autoencoder.latent_channels, *size), dtype=np.float32)
        self._item = latent, rng.integers(NUM_CLASSES, size=size, dtype=np.uint8)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        return self._item


def stage_on_random_latents(config: Config) -> DiffusionStage:
    """A U-Net's training that needs no data. It is not to be evaluated."""
    data = _RandomLatents(config)
    space = LatentSpace(build_autoencoder(config.autoencoder), 1.0)
    return DiffusionStage(config, data, data, Path(), space, {}, lambda *_: None)


def forecast(config: Config) -> str:
    """Train three steps of random latents on these ranks. Returns seconds a step, and hours an epoch, as a table.

    A step on n ranks is its samples' passes, the all-reduce as a ring does it, 2 (n - 1) / n times the gradients' bytes
    over the bandwidth, and the update. The first step, which compiles, does not count.
    """
    stage = stage_on_random_latents(config)
    examples = stage.load_batch(0)[0]
    gradient_bytes = 4 * sum(value.numel() for value in stage.network.parameters())

    def passes() -> None:
        stage.optimizer.backward(stage.loss(examples).total)

    def update() -> None:
        stage.optimizer.gradient_norm()
        stage.optimizer.step(0)
        stage.ema.update()

    seconds = np.array(
        [[_timed(work) for work in (passes, stage.optimizer.average_over_ranks, update)] for _ in range(REPEATS + 1)]
    )
    a_pass, reducing, updating = np.median(seconds[1:], axis=0).tolist()
    count = ranks.size()
    bandwidth = ASSUMED_BANDWIDTH if count == 1 else _ring(count) * gradient_bytes / reducing
    rows = []
    for number in PREDICTED:
        samples, remainder = divmod(config.diffusion_training.batch_size, number)
        if remainder:
            continue
        all_reduce = _ring(number) * gradient_bytes / bandwidth
        step = samples * a_pass / len(examples) + all_reduce + updating
        rows.append((number, step, all_reduce, step * PHOTOS / config.diffusion_training.batch_size / 3600))
    origin = "assumed" if count == 1 else f"measured on {count} ranks"
    told = (
        f"measured: {a_pass / len(examples):.3g} s a sample forwards and backwards, {updating:.3g} s an update; "
        f"{gradient_bytes / 1e9:.2f} GB of gradients at {bandwidth / 1e9:.3g} GB/s ({origin})"
    )
    return f"{told}\n{table(rows, ('ranks', 's a step', 'of it all-reduce', f'h an epoch of {PHOTOS}'))}"


def _timed(work: Callable[[], None]) -> float:
    """Seconds of the slowest rank."""
    ranks.barrier()
    start = time.perf_counter()
    work()
    jt.sync_all(True)  # a GPU goes on by itself
    return max(ranks.gather(time.perf_counter() - start))


def _ring(count: int) -> float:
    return 2 * (count - 1) / count
