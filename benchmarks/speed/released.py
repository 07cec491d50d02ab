"""The released model's layout at full size, from its files to an image: time and memory of every stage.

    python -m benchmarks.speed.released

The script writes the U-Net (501.5 M parameters) and the VQ autoencoder (55.3 M) with random weights as Jittor saves
them. A process of its own then makes one file of the two, loads it, takes one guided DDIM step and decodes. The step
includes what depends on the mask. Operators are compiled before they are timed. "peak GiB" is the process's during a
stage, "added GiB" what it had not held when the stage began.

The files take 4.5 GB in a temporary folder, which is removed again, and `jt.save` takes 6 GiB of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.common import jittor_side
from benchmarks.common.duel import memory

DISK_NEEDED = 5 * 2**30
UNET, AUTOENCODER = "unet_average.pkl", "vq.pkl"
WARM_UP_SIDE = 16
Row = tuple[str, float, float, float]


class Stages:
    """Time what runs within `with stages(name)`, and watch this process's memory meanwhile."""

    def __init__(self):
        self.rows: list[Row] = []

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        import jittor as jt

        jt.gc()
        ctypes.CDLL(None).malloc_trim(0)
        before = memory("self", "VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        start = time.perf_counter()
        yield
        seconds, peak = time.perf_counter() - start, memory("self", "VmHWM")
        self.rows.append((name, seconds, peak, peak - before))


def write(folder: Path, name: str) -> list[Row]:
    """The networks of a config with random weights, in the released format."""
    jittor_side.start("cpu")
    import jittor as jt

    from jiidm.config import load as configs
    from jiidm.model.build import build_autoencoder, build_unet

    config, stages = configs.load_config(name), Stages()
    networks = {UNET: build_unet(config), AUTOENCODER: build_autoencoder(config.autoencoder)}
    states = {file: jittor_side.load_random(network).state_dict() for file, network in networks.items()}
    with stages("write"):
        for file, state in states.items():
            jt.save(state, str(folder / file))
    for file, state in states.items():
        parameters, size = sum(values.numel() for values in state.values()), (folder / file).stat().st_size
        print(f"{file}: {parameters / 1e6:.1f} M parameters, {size / 1e9:.2f} GB", flush=True)
    return stages.rows


def use(folder: Path, name: str) -> list[Row]:
    """From the released files to an image."""
    jittor_side.start("cpu")
    from jiidm.model.convert import convert
    from jiidm.model.files import load_model

    stages, target = Stages(), folder / "model.safetensors"
    with stages("convert"):
        faults = convert([folder / UNET, folder / AUTOENCODER], target, name, [], None)
    if faults:
        raise SystemExit("\n".join(faults))
    with stages("load"):
        model = load_model(target)
    paint(model, (WARM_UP_SIDE, WARM_UP_SIDE), lambda stage: contextlib.nullcontext())
    image = paint(model, model.config.latent_size, stages)
    print(f"decoded to {image.shape[3]}x{image.shape[2]}, finite: {np.isfinite(image).all()}", flush=True)
    return stages.rows


def paint(model, latent_size: tuple[int, int], stage) -> np.ndarray:
    """One step and one decode for latents of `latent_size` (height, width)."""
    import jittor as jt

    from jiidm.classes import one_hot
    from ldm_jittor.denoiser import Denoiser
    from ldm_jittor.samplers import sample_ddim

    first, rng = model.config.inference.rounds[0], np.random.default_rng(0)
    z = jt.array(rng.standard_normal((1, model.config.autoencoder.latent_channels, *latent_size), dtype=np.float32))
    segmap = jt.array(one_hot(rng.integers(0, 29, latent_size).astype(np.uint8))[None])
    with jt.no_grad():
        with stage("guided DDIM step"):
            denoiser = Denoiser(model.unet, model.schedule, segmap, latent_size, guidance_scale=first.guidance_scale)
            z = sample_ddim(denoiser, z, [first.start_timestep])
        del denoiser
        with stage("decode"):
            return model.space.decode(z).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="iidm", help="whose layout (default: iidm, the released one)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to make the files")
    arguments = parser.parse_args()
    if shutil.disk_usage(arguments.folder).free < DISK_NEEDED:
        sys.exit(f"error: {arguments.folder}: less than {DISK_NEEDED // 2**30} GiB free")
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for work in (write, use):
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                rows += process.submit(work, Path(folder), arguments.config).result()
    from jiidm.report.tables import table

    print(table(rows, ("stage", "seconds", "peak GiB", "added GiB")))


if __name__ == "__main__":
    main()
