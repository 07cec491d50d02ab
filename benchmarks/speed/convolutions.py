"""3x3 convolutions against PyTorch, alone: the result, or the result and all gradients. Answers are compared first.

    python -m benchmarks.speed.convolutions
    python -m benchmarks.speed.convolutions --gradients

GFLOP/s are the textbook's multiplications and additions over the time. Winograd's algorithm needs a quarter of them.
"""

from __future__ import annotations

import math

from benchmarks.common import cli, convolutions, jittor_side
from benchmarks.common.duel import Contestant, Work, ours, torchs


def worker(name: str, gradients: bool, device: str) -> Work:
    jittor_side.start(device)
    import jittor as jt

    from ldm_jittor import ops

    arrays = convolutions.arrays(convolutions.CASES[name])
    x, weight, bias, grad_y = map(jt.array, arrays.values())

    def forward():
        with jt.no_grad():
            return {"y": ops.conv2d(x, weight, bias, padding=1).numpy()}

    def training():
        y = ops.conv2d(x, weight, bias, padding=1)
        found = jt.grad((y * grad_y).sum(), [x, weight, bias])
        return dict(zip(arrays, jt.fetch_sync(found)))

    return training if gradients else forward


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--case", nargs="+", choices=convolutions.CASES, default=list(convolutions.CASES))
    parser.add_argument("--gradients", action="store_true", help="the gradients of image, weight and bias, too")
    arguments = parser.parse_args()
    if arguments.worker:
        work = worker(arguments.case[0], arguments.gradients, arguments.device)
        jittor_side.serve(work, arguments.worker)
        return
    rows = []
    for name in arguments.case:
        options = ["--case", name, "--device", arguments.device, *(["--gradients"] if arguments.gradients else [])]
        contestants = [
            Contestant("this kit", ours(__spec__.name, *options)),
            Contestant("PyTorch", torchs("convolution", *options)),
        ]
        case = convolutions.CASES[name]
        passes = 3 if arguments.gradients else 1
        work = 2 * 9 * passes * case.samples * case.channels * case.outputs * math.prod(case.size) / 1e9
        rows += [[*row[:3], work / row[2], *row[3:]] for row in cli.compare(name, contestants, arguments)]
    cli.show(rows, "convolution", "by", "seconds", "GFLOP/s", "times ours", "peak GiB")


if __name__ == "__main__":
    main()
