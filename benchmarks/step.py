"""One guided denoising step against PyTorch: same architecture, same weights, answers compared first.

    python benchmarks/step.py --size demo mid full

"PyTorch" computes what depends on the mask in every step, as published code does; "PyTorch, cached" computes it once,
as this kit does, which leaves the difference of the operators alone.
"""

from __future__ import annotations

import cli
import jittor_side
import sizes
from duel import Contestant, Work, ours, torchs


def worker(size: str, batch: int, device: str) -> Work:
    jittor_side.start(device)
    import jittor as jt

    from ldm_jittor.denoiser import Denoiser
    from ldm_jittor.schedules import NoiseSchedule
    from ldm_jittor.unet import UNet

    unet = jittor_side.load_random(UNet(**sizes.unet_arguments(size)))
    unet.eval()
    z, segmap = jt.array(sizes.latents(size, batch)), jt.array(sizes.segmaps(size, batch))
    with jt.no_grad():
        denoiser = Denoiser(
            unet, NoiseSchedule.linear(), segmap, sizes.LATENT_SIZES[size], guidance_scale=sizes.GUIDANCE_SCALE
        )

    def work():
        with jt.no_grad():
            return {"eps": denoiser(z, sizes.TIMESTEP).eps.numpy()}

    return work


def main() -> None:
    arguments = cli.sized_parser(__doc__).parse_args()
    if arguments.worker:
        jittor_side.serve(worker(arguments.size[0], arguments.batch, arguments.device), arguments.worker)
        return
    rows = []
    for size in arguments.size:
        options = ["--size", size, "--batch", str(arguments.batch), "--device", arguments.device]
        contestants = [
            Contestant("this kit", ours(__file__, *options)),
            Contestant("PyTorch", torchs("step", *options)),
            Contestant("PyTorch, cached", torchs("step", *options, "--cached")),
        ]
        rows += cli.compare(size, contestants, arguments)
    cli.show(rows, "size", "guided step", "seconds", "times ours", "peak GiB")


if __name__ == "__main__":
    main()
