"""PyTorch's end: the same trainings, written as published code has them."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.alignment import parts
from benchmarks.alignment.verdict import beyond_border
from benchmarks.common import sizes
from benchmarks.common.torch_autoencoder import build_vq, vq_arguments
from benchmarks.common.torch_networks import build_unet, load, unet_arguments
from benchmarks.common.torch_pipeline import Pipeline, shipped, to_images, under
from benchmarks.common.torch_training import Diffusion
from jiidm.config.schema import AutoencoderTraining, Config, DiffusionTraining
from ldm_jittor.formats.names import from_diffusers_vq

Arrays = Mapping[str, np.ndarray]


def adamw(module: nn.Module, training: AutoencoderTraining | DiffusionTraining, betas=(0.9, 0.999)):
    """The optimizer, and what sets its learning rate: linear warm-up, then constant or a half cosine to zero."""
    optimizer = AdamW(module.parameters(), training.learning_rate, betas=betas, weight_decay=0.0)

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, training.warmup_steps))
        falling = training.lr_schedule == "cosine"
        return warm * (0.5 + 0.5 * math.cos(math.pi * step / training.max_steps)) if falling else warm

    return optimizer, LambdaLR(optimizer, factor)


def arrays_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: values.detach().numpy() for name, values in module.state_dict().items()}


def named(kind: str, arrays: Arrays) -> dict[str, np.ndarray]:
    return {f"{kind}.{name}": values for name, values in arrays.items()}


class UNetTraining:
    """Improved DDPM's loss, AdamW, an average of the weights whose decay grows at first."""

    def __init__(self, config: Config, given: Arrays):
        self.config, self.given, self.training = config, given, config.diffusion_training
        self.steps = self.training.max_steps
        self.unet = build_unet(unet_arguments(config), "cpu", under("start.", given))
        self.diffusion = Diffusion("cpu")
        self.optimizer, self.scheduler = adamw(self.unet, self.training)
        self.averages = {name: values.detach().clone() for name, values in self.unet.named_parameters()}

    def step(self, step: int) -> dict[str, float]:
        columns = [self.given[name][step] for name in ("z0", "eps", "timesteps_trained", "masks")]
        terms = defaultdict(list)
        for z0, eps, timesteps, masks in zip(*map(torch.from_numpy, columns)):
            simple, variational = self.diffusion.terms(self.unet, z0, eps, timesteps, one_hot(masks))
            loss = simple + variational
            (loss / self.training.accumulation_steps).backward()
            for name, term in {"loss": loss, "simple": simple, "variational": variational}.items():
                terms[name].append(term.item())
        self.rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        decay = min(self.training.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.averages.values()), [p.detach() for p in self.unet.parameters()], 1 - decay)
        return {name: math.fsum(values) / len(values) for name, values in terms.items()}

    def made(self) -> dict[str, np.ndarray]:
        averages = self.averaged()
        ends = {**named("weights", arrays_of(self.unet)), **named("averages", averages)}
        return {"images": self._images(averages), **ends}

    def averaged(self) -> dict[str, np.ndarray]:
        return {name: values.numpy() for name, values in self.averages.items()}

    def _images(self, averages: Arrays) -> np.ndarray:
        own, arrays = shipped()
        config = dataclasses.replace(self.config, autoencoder=own.autoencoder)
        timesteps = self.given["timesteps"].tolist()
        weights = {**named("autoencoder", under("autoencoder.", arrays)), **named("unet", averages)}
        paint = Pipeline(config, timesteps, weights, "cpu")
        scenes = sizes.scenes(parts.SHOWN, config.data.size, parts.SHOWN_SEED)
        size = config.inference.batch_size
        return np.concatenate([paint(scenes[start : start + size]) for start in range(0, len(scenes), size)])


def one_hot(masks: torch.Tensor) -> torch.Tensor:
    """Class ids [B,h,w] -> [B,classes,h,w], all zeros where the mask was dropped."""
    return (masks[:, None] == torch.arange(sizes.NUM_CLASSES)[:, None, None]).float()


class FullUNetTraining(UNetTraining):
    """No start is given: both ends draw it."""

    def made(self) -> dict[str, np.ndarray]:
        moments = self.optimizer.state
        gradients = {name: moments[values]["exp_avg"].numpy() for name, values in self.unet.named_parameters()}
        return {**named("gradients", gradients), **named("averages", self.averaged())}


class VQTraining:
    """VQGAN's two turns (Esser et al. 2021) with diffusers' autoencoder, quantised to the codes that are given."""

    def __init__(self, config: Config, given: Arrays):
        self.config, self.given, self.training = config, given, config.autoencoder_training
        self.steps = self.training.max_steps
        start = under("start.", given)
        self.network = build_vq(**vq_arguments(config), device="cpu", state=under("autoencoder.", start))
        self.network.quantize.legacy = False  # beta weighs the commitment (van den Oord et al. 2017), not the codes
        self.discriminator = PatchDiscriminator()
        load(self.discriminator, under("discriminator.", start))
        self.optimizer, self.scheduler = adamw(self.network, self.training, betas=(0.9, 0.99))
        self.judge_optimizer, self.judge_scheduler = adamw(self.discriminator, self.training, betas=(0.5, 0.9))
        self.latents, self.borders = [], []

    def step(self, step: int) -> dict[str, float]:
        x = to_model(self.given["crops"][step])
        z, codes = self.network.encode(x).latents, torch.from_numpy(self.given["codes"][step]).long()
        self._note(z.detach(), codes)
        quantized, regularization = self._quantize(z, codes)
        reconstruction = self.network.decode(quantized, force_not_quantize=True).sample
        l1 = (x - reconstruction).abs().mean()
        loss = l1 + self.training.regularization_weight * regularization
        adversarial, weight = step >= self.training.discriminator_start, None
        if adversarial:
            fooled = -self.discriminator(reconstruction).mean()
            weight = self.training.discriminator_weight * self._ratio(l1, fooled)
            loss = loss + weight * fooled
        self.optimizer.zero_grad()
        loss.backward()
        self.rate = self.optimizer.param_groups[0]["lr"]
        self.optimizer.step()
        terms = {"loss": loss, "reconstruction": l1, "regularization": regularization}
        if adversarial:
            hinge = self._judge(x, reconstruction.detach())
            terms |= {"adversarial_weight": weight, "discriminator": hinge}
        self.scheduler.step()
        self.judge_scheduler.step()
        return {name: term.item() for name, term in terms.items()}

    def _quantize(self, z: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What diffusers' quantizer gives, but for the choice of the codes."""
        quantizer = self.network.quantize
        chosen = quantizer.embedding(codes).permute(0, 3, 1, 2)
        commitment = (chosen.detach() - z).square().mean()
        return z + (chosen - z).detach(), (chosen - z.detach()).square().mean() + quantizer.beta * commitment

    @torch.no_grad()
    def _note(self, z: torch.Tensor, codes: torch.Tensor) -> None:
        """Note the latents, and how far each is beyond the border where diffusers' quantizer takes another code."""
        quantizer, own = self.network.quantize, self.network.quantize(z)[2][2]
        vectors = (z.permute(0, 2, 3, 1).flatten(0, 2), quantizer.embedding(codes.flatten()), quantizer.embedding(own))
        self.latents.append(z.numpy())
        self.borders.append(beyond_border(*(each.numpy() for each in vectors)))

    def _ratio(self, l1: torch.Tensor, fooled: torch.Tensor) -> torch.Tensor:
        """How much larger the gradient of reconstruction is at the last layer: VQGAN's adaptive weight."""
        last = self.network.decoder.conv_out.weight
        norms = [torch.autograd.grad(term, last, retain_graph=True)[0].norm() for term in (l1, fooled)]
        return (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4).detach()

    def _judge(self, x: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        real_logits, fake_logits = self.discriminator(x), self.discriminator(fake)
        hinge = 0.5 * (torch.relu(1 - real_logits).mean() + torch.relu(1 + fake_logits).mean())
        self.judge_optimizer.zero_grad()
        hinge.backward()
        self.judge_optimizer.step()
        return hinge

    @torch.inference_mode()
    def made(self) -> dict[str, np.ndarray]:
        photos = [scene.reference for scene in sizes.scenes(parts.SHOWN, self.config.data.size, parts.SHOWN_SEED)]
        copies = self.network.decode(self.network.encode(to_model(np.stack(photos))).latents).sample
        weights = named("autoencoder", from_diffusers_vq(arrays_of(self.network)))
        weights |= named("discriminator", arrays_of(self.discriminator))
        noted = {"latents": np.stack(self.latents), "borders": np.stack(self.borders)}
        return {"images": to_images(copies), **noted, **named("weights", weights)}


class PatchDiscriminator(nn.Module):
    """Pix2pix's (Isola et al. 2017), three layers deep, with group norm."""

    def __init__(self, channels: int = 64):
        super().__init__()
        layers = [nn.Conv2d(3, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        for width, stride in ((channels, 2), (2 * channels, 2), (4 * channels, 1)):
            layers += [nn.Conv2d(width, 2 * width, 4, stride, 1), nn.GroupNorm(16, 2 * width), nn.LeakyReLU(0.2)]
        self.main = nn.Sequential(*layers, nn.Conv2d(8 * channels, 1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.main(x)


def to_model(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1


TRAININGS = {"unet": UNetTraining, "autoencoder": VQTraining, "full": FullUNetTraining}
