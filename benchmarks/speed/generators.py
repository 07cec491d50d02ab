"""The GANs' generators against PyTorch at 512x384, one image: same architecture, same weights, answers compared first.

    python -m benchmarks.speed.generators

SCGAN stands for both of its released families. SEAN's style encoder is part of its generator and takes part.
"""

from __future__ import annotations

from benchmarks.common import cli, gans, jittor_side
from benchmarks.common.duel import Contestant, Work, ours, torchs


def worker(name: str, device: str) -> Work:
    jittor_side.start(device)
    import jittor as jt

    from jiidm.baselines import build_generator

    case = gans.CASES[name]
    network = build_generator(case.name, 29, gans.SIZE, case.channels, case.use_vae)
    parameters = dict(network.named_parameters())
    for key, values in gans.weights({key: tuple(value.shape) for key, value in parameters.items()}).items():
        parameters[key].assign(values)
        parameters[key].sync(weak_sync=False)
    network.eval()
    inputs = {key: jt.array(values) for key, values in gans.inputs(case).items()}

    def images() -> jt.Var:
        if case.name != "sean":
            return network(**inputs)
        planes = iter([values for key, values in inputs.items() if key.startswith("noise")])
        codes = network.style_codes(inputs["image"], inputs["image_segmap"])
        return network(inputs["segmap"], style_codes=codes, noise=lambda shape: next(planes))

    def work():
        with jt.no_grad():
            return {"image": images().numpy()}

    return work


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--generator", nargs="+", choices=gans.CASES, default=list(gans.CASES))
    arguments = parser.parse_args()
    if arguments.worker:
        jittor_side.serve(worker(arguments.generator[0], arguments.device), arguments.worker)
        return
    rows = []
    for name in arguments.generator:
        options = ["--generator", name, "--device", arguments.device]
        contestants = [
            Contestant("this kit", ours(__spec__.name, *options)),
            Contestant("PyTorch", torchs("generator", *options)),
        ]
        rows += cli.compare(name, contestants, arguments)
    cli.show(rows, "generator", "one image", "seconds", "times ours", "peak GiB")


if __name__ == "__main__":
    main()
