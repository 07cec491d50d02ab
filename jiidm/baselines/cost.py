"""Parameters and GFLOP of a config's networks, whichever its method. It builds them and computes nothing."""

from __future__ import annotations

from typing import NamedTuple

from jiidm.baselines.model import GAN, discriminator_of
from jiidm.config.schema import Config
from jiidm.model import gflop
from jiidm.model.build import build_autoencoder, build_schedule, build_unet, count_passes


class Cost(NamedTuple):
    parameters: int
    """Learned numbers."""
    gflop: float
    """One forward pass at the config's size, batch 1, by the rule of `jiidm.model.gflop`."""


def network_costs(config: Config) -> dict[str, Cost]:
    """A GAN's generator, its VAE's encoder where it has one, and its discriminator; else U-Net, encoder and decoder."""
    size = config.data.size
    if not config.is_gan:
        autoencoder, unet = build_autoencoder(config.autoencoder), build_unet(config)
        encoder = gflop.count_parameters(autoencoder.encoder) + gflop.count_parameters(autoencoder.quant_conv)
        decoder = gflop.count_parameters(autoencoder) - encoder
        return {
            "U-Net": Cost(gflop.count_parameters(unet), gflop.unet_gflop(unet, config.latent_size)),
            "encoder": Cost(encoder, gflop.encode_gflop(autoencoder, size)),
            "decoder": Cost(decoder, gflop.decode_gflop(autoencoder, size)),
        }
    network, discriminator = GAN(config), discriminator_of(config)
    costs = {"generator": Cost(gflop.count_parameters(network.generator), gflop.generator_gflop(network.generator))}
    if config.has_vae:
        costs["encoder"] = Cost(gflop.count_parameters(network.encoder), gflop.encoder_gflop(network.encoder))
    costs["discriminator"] = Cost(gflop.count_parameters(discriminator), gflop.discriminator_gflop(discriminator, size))
    return costs


def image_gflop(config: Config) -> float:
    """A whole image: a GAN's one pass, or all rounds of the diffusion model, two passes a guided step."""
    costs = network_costs(config)
    if config.is_gan:
        return sum(cost.gflop for name, cost in costs.items() if name != "discriminator")
    rounds = config.inference.rounds
    schedule = build_schedule(config.schedule)
    passes = sum(count_passes(round_, schedule) for round_ in rounds)
    coding = costs["encoder"].gflop + costs["decoder"].gflop
    return passes * costs["U-Net"].gflop + len(rounds) * coding


def describe(config: Config) -> str:
    """The sizes of a GAN's networks, as a few lines."""
    lines = [f"config {config.name}: {config.method}, {config.data.size} images"]
    for name, cost in network_costs(config).items():
        lines.append(f"{name}: {cost.parameters / 1e6:.1f} M parameters, {cost.gflop:.4g} GFLOP a pass")
    return "\n".join(lines)
