"""One training step of GauGAN by PyTorch on given weights: python oracle_gan_training.py IN.npz OUT.npz.

In: `cases`, some of "hinge" and "oasis"; `size`, `channels`; `G/<name>`, `E/<name>`, `hinge/<name>`, `oasis/<name>`,
weights of generator, encoder and the two discriminators; `V/<name>`, VGG-19's; `real`, `segmap`, `eps` and `eps2`, the
noise of the two turns; `mix`, whose sign decides which classes a LabelMix image has from the photo; `rates`, of
generator and discriminator.
Out, each after `<case>/`: `loss/<name>`; `grad/<network>.<name>`; `buffer/<network>.<name>`, as the step leaves them.

The step is the published one: the generator and the encoder are updated first. Then the discriminator sees new fakes.
"hinge" has feature matching and the perceptual loss; "oasis" neither.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import torch_gan
import torch_gan_judges
from oracle_inputs import weights
from torch.nn import functional
from torch_vgg import perceptual_loss, vgg_features

Maps = list[list[torch.Tensor]]
Terms = dict[str, torch.Tensor]


class Hinge:
    def __init__(self, discriminator: torch.nn.Module, given: dict):
        self.discriminator, self.given = discriminator, given
        self.vgg = vgg_features("vgg19")
        self.vgg.load_state_dict({name.removeprefix("features."): value for name, value in given["vgg"].items()})

    def judge(self, fake: torch.Tensor) -> tuple[Maps, Maps]:
        """For each of two scales the outputs of all layers, of the fakes and of the photos, seen as one batch."""
        segmap, real = self.given["segmap"], self.given["real"]
        outputs = list(self.discriminator(torch.cat([segmap, segmap]), torch.cat([fake, real])))
        logits, features = outputs[:2], outputs[2:]
        scales = [[*features[: len(features) // 2], logits[0]], [*features[len(features) // 2 :], logits[1]]]
        count = len(fake)
        return [[x[:count] for x in scale] for scale in scales], [[x[count:] for x in scale] for scale in scales]

    def generator_terms(self, fake: torch.Tensor) -> Terms:
        fakes, reals = self.judge(fake)
        matching = 0
        for ours, theirs in zip(fakes, reals):
            matching = matching + sum(functional.l1_loss(a, b.detach()) for a, b in zip(ours[:-1], theirs[:-1])) / 2
        return {
            "adversarial": sum(-scale[-1].mean() for scale in fakes) / 2,
            "feature_matching": 10 * matching,
            "perceptual": 10 * perceptual_loss(self.vgg, fake, self.given["real"]),
        }

    def discriminator_terms(self, fake: torch.Tensor) -> Terms:
        fakes, reals = self.judge(fake)
        hinge = 0
        for ours, theirs in zip(fakes, reals):
            hinge = hinge + (functional.relu(1 + ours[-1]).mean() + functional.relu(1 - theirs[-1]).mean()) / 2
        return {"discriminator": hinge}


class OASIS:
    def __init__(self, discriminator: torch.nn.Module, given: dict):
        self.discriminator, self.given = discriminator, given
        self.labels = given["segmap"].argmax(1)  # [B,H,W]
        counts = torch.bincount(self.labels.ravel(), minlength=29)
        self.weights = self.labels.numel() / counts / (counts > 0).sum()  # of each class

    def balanced(self, logits: torch.Tensor) -> torch.Tensor:
        losses = functional.cross_entropy(logits, self.labels + 1, reduction="none")
        return (losses * self.weights[self.labels]).mean()

    def generator_terms(self, fake: torch.Tensor) -> Terms:
        return {"adversarial": self.balanced(self.discriminator(fake))}

    def discriminator_terms(self, fake: torch.Tensor) -> Terms:
        real, from_photo = self.given["real"], self.given["mix"][:, :, 0, 0] > 0  # [B,29]
        where = torch.stack([chosen[labels] for chosen, labels in zip(from_photo, self.labels)])[:, None]
        outputs = self.discriminator(torch.cat([fake, real, torch.where(where, real, fake)]))
        of_fake, of_real, of_mix = outputs.chunk(3)
        segmentation = self.balanced(of_real) + functional.cross_entropy(of_fake, torch.zeros_like(self.labels))
        labelmix = 10 * functional.mse_loss(of_mix, torch.where(where, of_real, of_fake))
        return {"discriminator": segmentation + labelmix, "segmentation": segmentation, "labelmix": labelmix}


def paint(networks: dict, given: dict, noise: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    mean, log_variance = networks["E"](given["real"])
    z = mean + given[noise] * torch.exp(0.5 * log_variance)
    return networks["G"](given["segmap"], z), mean, log_variance


def step(case: str, arrays: dict, given: dict) -> Terms:
    channels = int(arrays["channels"])
    judges = {
        "hinge": lambda: torch_gan_judges.Multiscale(channels=channels, strides=[2, 2, 2, 1]),
        "oasis": lambda: torch_gan_judges.OASIS(channels=channels),
    }
    networks = {
        "G": torch_gan.GauGAN(size=tuple(arrays["size"].tolist()), channels=channels, use_vae=True),
        "E": torch_gan_judges.Encoder(channels=channels),
        "D": judges[case](),
    }
    for name, network in networks.items():
        prefix = f"{case}/" if name == "D" else f"{name}/"
        absent, surplus = network.load_state_dict(weights(arrays, prefix), strict=False)
        assert not surplus and all(key.endswith("num_batches_tracked") for key in absent), (absent, surplus)
        network.train()
    game = {"hinge": Hinge, "oasis": OASIS}[case](networks["D"], given)
    generator_parameters = [*networks["G"].parameters(), *networks["E"].parameters()]
    optimizers = [
        torch.optim.Adam(parameters, rate, betas=(0.0, 0.9))
        for parameters, rate in zip((generator_parameters, networks["D"].parameters()), arrays["rates"].tolist())
    ]
    answers = {}

    fake, mean, log_variance = paint(networks, given, "eps")
    terms = game.generator_terms(fake)
    terms["kl"] = 0.05 * -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    terms["loss"] = sum(terms.values())
    terms["loss"].backward()
    for name in "GE":
        answers |= {f"grad/{name}.{key}": value.grad.clone() for key, value in networks[name].named_parameters()}
    optimizers[0].step()

    with torch.no_grad():
        fake = paint(networks, given, "eps2")[0]
    optimizers[1].zero_grad()
    judged = game.discriminator_terms(fake)
    judged["discriminator"].backward()
    answers |= {f"grad/D.{key}": value.grad for key, value in networks["D"].named_parameters()}
    optimizers[1].step()

    answers |= {f"loss/{key}": value for key, value in {**terms, **judged}.items()}
    for name, network in networks.items():
        answers |= {f"buffer/{name}.{key}": value for key, value in network.named_buffers() if value.ndim}
    return answers


def main(source: str, target: str) -> None:
    with np.load(source) as file:
        arrays = dict(file)
    given = {key: torch.from_numpy(arrays[key]) for key in ("real", "segmap", "eps", "eps2", "mix")}
    given["vgg"] = weights(arrays, "V/")
    answers = {
        f"{case}/{name}": value.detach().numpy()
        for case in arrays["cases"].tolist()
        for name, value in step(case, arrays, given).items()
    }
    np.savez(target, **answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
