"""Does a full-size config run on this machine? One denoising step and one decode with random weights.

    python benchmarks/full_size.py iidm iidm_paper

Prints, per config, the time of a step and of a decode (second call, so without compilation) and the peak memory of
the process. Each config runs in a process of its own, so that the peaks do not mix.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time


def measure(name: str, device: str) -> str:
    from jiidm import runtime

    runtime.use_device(runtime.prepare(device).device)
    import jittor as jt
    import numpy as np

    from jiidm import config as configs
    from jiidm.build import build_autoencoder, build_schedule, build_unet
    from jiidm.data import one_hot
    from ldm_jittor.denoiser import Denoiser
    from ldm_jittor.samplers import SAMPLERS

    config = configs.load(name)
    first = config.inference.rounds[0]
    width, height = config.latent_size
    rng = np.random.default_rng(0)
    z = jt.array(rng.standard_normal((1, config.autoencoder.latent_channels, height, width)).astype(np.float32))
    segmap = jt.array(one_hot(rng.integers(0, 29, (height, width)).astype(np.uint8))[None])
    unet, autoencoder = build_unet(config), build_autoencoder(config.autoencoder)

    def timed(call):
        start = time.perf_counter()
        result = call()
        result.sync()
        return result, time.perf_counter() - start

    with jt.no_grad():
        denoiser = Denoiser(
            unet,
            build_schedule(config.schedule),
            segmap,
            (height, width),
            guidance_scale=first.guidance_scale,
            clip_x0=config.inference.clip_x0,
        )
        noise = lambda i: jt.zeros_like(z)  # noqa: E731
        step = lambda: SAMPLERS[first.sampler](denoiser, z, [first.start_timestep, 0], noise=noise)  # noqa: E731
        timed(step)
        latent, step_seconds = timed(step)
        timed(lambda: autoencoder.decode(latent))
        image, decode_seconds = timed(lambda: autoencoder.decode(latent))
    finite = bool(np.isfinite(image.numpy()).all())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    shape = "x".join(map(str, (image.shape[3], image.shape[2])))
    guided = "guided" if first.guidance_scale != 1 else "unguided"
    return (
        f"{name}: {guided} {first.sampler} step {step_seconds / 2:.2f} s, decode to {shape} {decode_seconds:.2f} s, "
        f"peak memory {peak:.1f} GiB, finite: {finite}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    arguments = parser.parse_args()
    if len(arguments.configs) == 1:
        print(measure(arguments.configs[0], arguments.device), flush=True)
        return
    for name in arguments.configs:
        subprocess.run([sys.executable, __file__, name, "--device", arguments.device], check=True)


if __name__ == "__main__":
    main()
