"""One guided denoising step against PyTorch: same architecture, same weights, answers compared first.

    python -m benchmarks.speed.step --size demo mid full

"PyTorch" computes what depends on the mask in every step, as published code does. "PyTorch, cached" computes it once,
as this kit does, which leaves the difference of the operators alone. Keeping it takes memory, so "this kit, not cached"
computes it in every step too.
"""

from __future__ import annotations

import argparse

from benchmarks.common import cli, jittor_side, sizes
from benchmarks.common.duel import Contestant, Work, ours, torchs


def worker(size: str, batch: int, device: str, cached: bool) -> Work:
    jittor_side.start(device)
    import jittor as jt

    from ldm_jittor.denoiser import Denoiser
    from ldm_jittor.schedules import NoiseSchedule
    from ldm_jittor.unet import UNet

    unet = jittor_side.load_random(UNet(**sizes.unet_arguments(size)))
    unet.eval()
    z, segmap = jt.array(sizes.latents(size, batch)), jt.array(sizes.segmaps(size, batch))
    scale = sizes.GUIDANCE_SCALE
    if cached:
        with jt.no_grad():
            denoiser = Denoiser(unet, NoiseSchedule.linear(), segmap, sizes.LATENT_SIZES[size], guidance_scale=scale)

    def predict() -> jt.Var:
        if cached:
            return denoiser(z, sizes.TIMESTEP).eps
        masks = jt.concat([segmap, jt.zeros_like(segmap)])
        masked, null = unet(jt.concat([z, z]), jt.array([float(sizes.TIMESTEP)]), masks)[:, :3].chunk(2)
        return null + scale * (masked - null)

    def work():
        with jt.no_grad():
            return {"eps": predict().numpy()}

    return work


def main() -> None:
    parser = cli.sized_parser(__doc__)
    parser.add_argument("--not-cached", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work = worker(arguments.size[0], arguments.batch, arguments.device, not arguments.not_cached)
        jittor_side.serve(work, arguments.worker)
        return
    rows = []
    for size in arguments.size:
        options = ["--size", size, "--batch", str(arguments.batch), "--device", arguments.device]
        contestants = [
            Contestant("this kit", ours(__spec__.name, *options)),
            Contestant("this kit, not cached", ours(__spec__.name, *options, "--not-cached")),
            Contestant("PyTorch", torchs("step", *options)),
            Contestant("PyTorch, cached", torchs("step", *options, "--cached")),
        ]
        rows += cli.compare(size, contestants, arguments)
    cli.show(rows, "size", "guided step", "seconds", "times ours", "peak GiB")


if __name__ == "__main__":
    main()
