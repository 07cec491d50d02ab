"""Run PyTorch's GANs on given weights: python oracle_gan.py IN.npz OUT.npz.

In: `cases` (JSON, {case: [class, arguments]}), `<case>/weights/<name>`, `<case>/in/<argument>`,
`<case>/direction/<i>` for the outputs whose product with it is the loss.
Out: `<case>/eval/<i>` and `<case>/train/<i>`, outputs in both modes; `<case>/state/<name>`, the buffers after one
forward in training mode; `<case>/grad/<name>`, gradients of the loss there.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
import torch_gan
import torch_gan_judges
from oracle_inputs import weights

WITHOUT_EFFECT = ("num_batches_tracked", ".Spade.param_free_norm.running_mean", ".Spade.param_free_norm.running_var")


def run(network: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    if isinstance(network, torch_gan.SEAN):
        codes = network.Zencoder(inputs["image"], inputs["image_segmap"])
        return [network(inputs["segmap"], codes, [inputs[f"noise{i}"] for i in range(18)]), codes]
    outputs = network(**inputs)
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


def main(source: str, target: str) -> None:
    arrays = np.load(source)
    answers = {}
    for case, (kind, arguments) in json.loads(str(arrays["cases"])).items():
        network = getattr(torch_gan, kind, None) or getattr(torch_gan_judges, kind)
        network = network(**arguments)
        absent, surplus = network.load_state_dict(weights(arrays, f"{case}/weights/"), strict=False)
        assert not surplus and all(name.endswith(WITHOUT_EFFECT) for name in absent), (case, absent, surplus)
        inputs = weights(arrays, f"{case}/in/")
        with torch.no_grad():
            answers |= {f"{case}/eval/{i}": output for i, output in enumerate(run(network.eval(), inputs))}
        outputs = run(network.train(), inputs)
        answers |= {f"{case}/train/{i}": output.detach() for i, output in enumerate(outputs)}
        answers |= {f"{case}/state/{name}": value for name, value in network.named_buffers() if value.ndim}
        directions = weights(arrays, f"{case}/direction/")
        sum((outputs[int(i)] * direction).sum() for i, direction in directions.items()).backward()
        gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
        answers |= {f"{case}/grad/{name}": value for name, value in gradients.items()}
    np.savez(target, **{name: value.numpy() for name, value in answers.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
