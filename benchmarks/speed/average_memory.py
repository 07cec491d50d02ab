"""What does averaging two full-size checkpoints take? Peak memory and time of `jiidm average`.

    python -m benchmarks.speed.average_memory

The script writes two random U-Nets of the released layout (501.5 M parameters, 2 GB each) and their average to a
temporary folder, 6 GB in all, and removes it again. `--folder` says where.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

GIB = 2**30
DISK_NEEDED = 8 * GIB


def make(path: Path, seed: int) -> None:
    from jiidm.system import runtime

    runtime.prepare("cpu")
    import numpy as np

    from jiidm.config import load as configs
    from jiidm.model.build import build_unet
    from ldm_jittor import checkpoint

    config = configs.load_config("iidm")
    rng = np.random.default_rng(seed)
    shapes = {name: tuple(value.shape) for name, value in build_unet(config).named_parameters()}
    arrays = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    checkpoint.save(path, arrays, {"config": configs.to_dict(config)})
    print(f"{path.name}: {sum(array.size for array in arrays.values()) / 1e6:.1f} M parameters", flush=True)


def measure(arguments: list[str]) -> tuple[float, float]:
    """Peak memory in GiB and seconds of a Python process."""
    start = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"python {' '.join(arguments)} failed")
    return usage.ru_maxrss * 1024 / GIB, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    root = parser.parse_args().folder
    if shutil.disk_usage(root).free < DISK_NEEDED:
        raise SystemExit(f"{root}: less than {DISK_NEEDED // GIB} GiB free")
    with tempfile.TemporaryDirectory(dir=root) as folder:
        sources, target = [Path(folder, name) for name in ("a.safetensors", "b.safetensors")], Path(folder, "mean")
        for seed, source in enumerate(sources):
            # in a process of its own: a child's peak is never below what its parent held
            maker = multiprocessing.get_context("spawn").Process(target=make, args=(source, seed))
            maker.start()
            maker.join()
        empty = (
            "from jiidm.system import runtime; runtime.prepare('cpu'); import jiidm.model.files, ldm_jittor.averaging"
        )
        before, _ = measure(["-c", empty])
        peak, seconds = measure(["-m", "jiidm", "average", *map(str, sources), "--out", str(target)])
    print(f"average: {seconds:.1f} s, peak memory {peak:.2f} GiB, {peak - before:.2f} more than without averaging")


if __name__ == "__main__":
    main()
