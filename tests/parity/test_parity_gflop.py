"""jiidm.model.gflop against what PyTorch counts of networks of the same layout, at published sizes."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from oracle import COMPARISONS, ask

from benchmarks.common import sizes
from jiidm.baselines import build_discriminator, build_encoder, build_generator
from jiidm.baselines.cost import Cost
from jiidm.model import gflop
from jiidm.size import Size
from ldm_jittor.autoencoder import VQModel
from ldm_jittor.unet import UNet

SIZE = Size(384, 512)
SEGMAP = {"segmap": (1, 29, *SIZE)}
IMAGE = {"image": (1, 3, *SIZE)}
STYLE = {"z": (1, 256)}
CODES = {"codes": (1, 29, 512)}
FACES = dict(experts=(3, 3), temperature=0.05, spectral_routing=False, position=True)
SCENES = dict(experts=(3, 4), temperature=0.05, spectral_routing=True, position=False)
LATENTS = {"x": (1, 3, 96, 128), "timesteps": (1,), "segmap": (1, 29, 96, 128)}
VQ = sizes.AUTOENCODERS["full"]


class Case(NamedTuple):
    ours: Cost
    twin: str
    arguments: dict
    inputs: dict[str, tuple[int, ...]]


def generator(name: str, channels: int, use_vae: bool, **options) -> Cost:
    network = build_generator(name, 29, SIZE, channels, use_vae, **options)
    return Cost(gflop.count_parameters(network), gflop.generator_gflop(network))


def discriminator(name: str, use_vae: bool = True) -> Cost:
    network = build_discriminator(name, 29, 64, use_vae)
    return Cost(gflop.count_parameters(network), gflop.discriminator_gflop(network, SIZE))


def encoder(name: str, channels: int) -> Cost:
    network = build_encoder(name, channels)
    return Cost(gflop.count_parameters(network), gflop.encoder_gflop(network))


def unet() -> Cost:
    network = UNet(**sizes.unet_arguments("full"))
    return Cost(gflop.count_parameters(network), gflop.unet_gflop(network, Size(96, 128)))


def autoencoder(half: str) -> Cost:
    ddconfig = dict(
        in_channels=3, out_ch=3, z_channels=3, **{key: VQ[key] for key in ("ch", "ch_mult", "num_res_blocks")}
    )
    network = VQModel(ddconfig, VQ["n_embed"], 3)
    return Cost(gflop.count_parameters(network), getattr(gflop, f"{half}_gflop")(network, SIZE))


def diffusers_vq() -> dict:
    levels = len(VQ["ch_mult"])
    return dict(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=[VQ["ch"] * mult for mult in VQ["ch_mult"]],
        layers_per_block=VQ["num_res_blocks"],
        latent_channels=3,
        num_vq_embeddings=VQ["n_embed"],
        vq_embed_dim=3,
    )


def twin(channels: int, use_vae: bool, **options) -> dict:
    return {"size": SIZE, "channels": channels, "use_vae": use_vae, **options}


def cases() -> dict[str, Case]:
    return {
        "gaugan": Case(generator("gaugan", 64, True), "GauGAN", twin(64, True), SEGMAP | STYLE),
        "gaugan, no VAE": Case(generator("gaugan", 64, False), "GauGAN", twin(64, False), SEGMAP),
        "gaugan, six upsamplings": Case(
            generator("gaugan", 64, True, upsamplings=6), "GauGAN", twin(64, True, upsamplings=6), SEGMAP | STYLE
        ),
        "clade": Case(generator("clade", 64, True), "CLADEGenerator", twin(64, True), SEGMAP | STYLE),
        "clade, distance map": Case(
            generator("clade", 64, False, distance_map=True),
            "CLADEGenerator",
            twin(64, False, distance_map=True),
            SEGMAP | {"distance": (1, 2, *SIZE)},
        ),
        "sean": Case(
            generator("sean", 64, False),
            "SEAN",
            {"size": SIZE, "channels": 64, "style_channels": 512},
            SEGMAP | IMAGE | CODES,
        ),
        "scgan": Case(
            generator("scgan", 48, True),
            "SCGAN",
            twin(48, True, routing_channels=32, fc_channels=32, **FACES),
            SEGMAP | STYLE,
        ),
        "scgan, no VAE": Case(
            generator("scgan", 32, False),
            "SCGAN",
            twin(32, False, routing_channels=32, fc_channels=32, **SCENES),
            SEGMAP,
        ),
        "encoder": Case(encoder("gaugan", 64), "Encoder", {"channels": 64}, IMAGE),
        "two scales": Case(
            discriminator("gaugan"), "Multiscale", {"channels": 64, "strides": [2, 2, 2, 1]}, SEGMAP | IMAGE
        ),
        "two scales of sean": Case(
            discriminator("sean"), "Multiscale", {"channels": 64, "strides": [2, 2, 2]}, SEGMAP | IMAGE
        ),
        "feature pyramid": Case(discriminator("scgan", use_vae=False), "FeaturePyramid", {"ndf": 64}, SEGMAP | IMAGE),
        "oasis": Case(discriminator("oasis"), "OASIS", {"channels": 64}, IMAGE),
        "U-Net": Case(unet(), "UNet", sizes.unet_arguments("full"), LATENTS),
        "VQ, encode": Case(autoencoder("encode"), "encode", diffusers_vq(), {"x": (1, 3, *SIZE)}),
        "VQ, decode": Case(autoencoder("decode"), "decode", diffusers_vq(), {"z": (1, 3, 96, 128)}),
    }


@pytest.mark.slow
def test_parameters_and_operations_are_those_that_pytorch_counts() -> None:
    ours = cases()
    asked = {name: (case.twin, case.arguments, case.inputs) for name, case in ours.items()}
    answers = ask("oracle_gflop.py", cases=json.dumps(asked))
    for name, case in ours.items():
        parameters, operations = answers[name]
        assert case.ours.parameters == parameters, name
        difference = abs(case.ours.gflop / operations - 1)
        COMPARISONS.append((f"GFLOP: {name}", "PyTorch", f"{difference:.1e}"))
        assert difference <= 0.01, f"{name}: {case.ours.gflop:.2f} GFLOP against {operations:.2f}"
