"""One training step of GauGAN by PyTorch on given weights: python oracle_gan_training.py IN.npz OUT.npz.

In: `size`, `channels`; `G/<name>`, `E/<name>`, `D/<name>`; `real`, `segmap`, `eps` and `eps2`, the noise of the two
turns; `rates`, of generator and discriminator.
Out: `loss/<name>`; `grad/<network>.<name>`; `buffer/<network>.<name>`, as the step leaves them.

The step is the published one: the generator and the encoder are updated first. Then the discriminator sees new fakes.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch_gan
import torch_gan_judges
from oracle_inputs import weights
from torch.nn import functional

Maps = list[list[torch.Tensor]]


def judge(discriminator: torch.nn.Module, given: dict, fake: torch.Tensor) -> tuple[Maps, Maps]:
    """For each of two scales the outputs of all layers, of the fakes and of the photos, which go in as one batch."""
    segmap, real = given["segmap"], given["real"]
    outputs = list(discriminator(torch.cat([segmap, segmap]), torch.cat([fake, real])))
    logits, features = outputs[:2], outputs[2:]
    scales = [[*features[: len(features) // 2], logits[0]], [*features[len(features) // 2 :], logits[1]]]
    count = len(fake)
    return [[x[:count] for x in scale] for scale in scales], [[x[count:] for x in scale] for scale in scales]


def paint(networks: dict, given: dict, noise: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    mean, log_variance = networks["E"](given["real"])
    z = mean + given[noise] * torch.exp(0.5 * log_variance)
    return networks["G"](given["segmap"], z), mean, log_variance


def main(source: str, target: str) -> None:
    arrays = np.load(source)
    channels, size = int(arrays["channels"]), tuple(arrays["size"].tolist())
    networks = {
        "G": torch_gan.GauGAN(size=size, channels=channels, use_vae=True),
        "E": torch_gan_judges.Encoder(channels=channels),
        "D": torch_gan_judges.Multiscale(channels=channels, strides=[2, 2, 2, 1]),
    }
    for name, network in networks.items():
        absent, surplus = network.load_state_dict(weights(arrays, f"{name}/"), strict=False)
        assert not surplus and all(key.endswith("num_batches_tracked") for key in absent), (absent, surplus)
        network.train()
    given = {key: torch.from_numpy(arrays[key]) for key in ("real", "segmap", "eps", "eps2")}
    rates = arrays["rates"].tolist()
    generator_parameters = [*networks["G"].parameters(), *networks["E"].parameters()]
    optimizers = [
        torch.optim.Adam(parameters, rate, betas=(0.0, 0.9))
        for parameters, rate in zip((generator_parameters, networks["D"].parameters()), rates)
    ]
    answers = {}

    fake, mean, log_variance = paint(networks, given, "eps")
    fakes, reals = judge(networks["D"], given, fake)
    adversarial = sum(-scale[-1].mean() for scale in fakes) / 2
    matching = 0
    for ours, theirs in zip(fakes, reals):
        matching = matching + sum(functional.l1_loss(a, b.detach()) for a, b in zip(ours[:-1], theirs[:-1])) / 2
    kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    loss = adversarial + 10 * matching + 0.05 * kl
    loss.backward()
    for name in "GE":
        answers |= {f"grad/{name}.{key}": value.grad.clone() for key, value in networks[name].named_parameters()}
    optimizers[0].step()

    with torch.no_grad():
        fake = paint(networks, given, "eps2")[0]
    optimizers[1].zero_grad()
    fakes, reals = judge(networks["D"], given, fake)
    hinge = 0
    for ours, theirs in zip(fakes, reals):
        hinge = hinge + (functional.relu(1 + ours[-1]).mean() + functional.relu(1 - theirs[-1]).mean()) / 2
    hinge.backward()
    answers |= {f"grad/D.{key}": value.grad for key, value in networks["D"].named_parameters()}
    optimizers[1].step()

    losses = {"loss": loss, "adversarial": adversarial, "feature_matching": 10 * matching, "kl": 0.05 * kl}
    answers |= {f"loss/{key}": value for key, value in {**losses, "discriminator": hinge}.items()}
    for name, network in networks.items():
        answers |= {f"buffer/{name}.{key}": value for key, value in network.named_buffers() if value.ndim}
    np.savez(target, **{name: value.detach().numpy() for name, value in answers.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
