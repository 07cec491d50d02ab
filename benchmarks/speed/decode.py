"""Encode and decode images with the VQ autoencoder, against diffusers' VQModel with the same weights.

    python -m benchmarks.speed.decode --size full --batch 4

Encoded latents are compared before quantisation. Codes are decoded, so that neither side rounds to another code.
"at rest" counts the libraries: diffusers takes a third of a GiB of it.
"""

from __future__ import annotations

from benchmarks.common import cli, jittor_side, sizes
from benchmarks.common.duel import Contestant, Work, ours, torchs


def worker(task: str, size: str, batch: int, device: str) -> Work:
    jittor_side.start(device)
    import jittor as jt

    from ldm_jittor.autoencoder import VQModel

    config = dict(sizes.AUTOENCODERS[size])
    n_embed, least = config.pop("n_embed"), config.pop("norm_min_channels", 1)
    ddconfig = {**config, "in_channels": 3, "out_ch": 3, "z_channels": 3}
    model = jittor_side.load_random(VQModel(ddconfig, n_embed, 3, norm_min_channels=least))
    model.eval()
    x = jt.array(sizes.images(size, batch))
    z = jt.array(sizes.codes(size, batch, model.quantize.embedding.weight.numpy()))

    def work():
        with jt.no_grad():
            return {task: (model.encode(x) if task == "encode" else model.decode(z)).numpy()}

    return work


def main() -> None:
    parser = cli.sized_parser(__doc__)
    parser.add_argument("--task", nargs="+", choices=("encode", "decode"), default=["encode", "decode"])
    arguments = parser.parse_args()
    if arguments.worker:
        work = worker(arguments.task[0], arguments.size[0], arguments.batch, arguments.device)
        jittor_side.serve(work, arguments.worker)
        return
    rows = []
    for size in arguments.size:
        for task in arguments.task:
            options = ["--size", size, "--batch", str(arguments.batch), "--device", arguments.device]
            contestants = [
                Contestant("this kit", ours(__spec__.name, *options, "--task", task)),
                Contestant("PyTorch", torchs(task, *options)),
            ]
            rows += cli.compare(f"{size}, {task}", contestants, arguments, ["resident", "peak"])
    cli.show(rows, "size", "autoencoder", "seconds", "times ours", "at rest GiB", "peak GiB")


if __name__ == "__main__":
    main()
