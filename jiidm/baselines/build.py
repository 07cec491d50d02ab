"""The networks of the four GANs by name. Widths that are no argument are the published ones."""

from __future__ import annotations

from typing import Any

from jittor import nn

from jiidm.classes import NUM_CLASSES
from jiidm.errors import InputError
from jiidm.model.gan.clade import CLADEGenerator
from jiidm.model.gan.discriminators import FPSEDiscriminator, MultiscaleDiscriminator
from jiidm.model.gan.encoder import ImageEncoder
from jiidm.model.gan.generator import Generator
from jiidm.model.gan.init import initialize
from jiidm.model.gan.oasis import OASISDiscriminator
from jiidm.model.gan.scgan import SCGANGenerator
from jiidm.model.gan.sean import SEANGenerator
from jiidm.model.gan.spade import SPADEGenerator

NAMES = ("gaugan", "clade", "sean", "scgan")
SCGAN_WITH_VAE: dict[str, Any] = dict(
    routing_channels=32,
    fc_channels=32,
    conv_experts=3,
    norm_experts=3,
    temperature=0.05,
    spectral_routing=False,
    position=True,
)
"""The released family that takes a style image (CelebAMask-HQ)."""
SCGAN_WITHOUT_VAE: dict[str, Any] = {**SCGAN_WITH_VAE, "norm_experts": 4, "spectral_routing": True, "position": False}
"""The other one (ADE20K)."""


def build_generator(
    name: str, num_classes: int, size: tuple[int, int], channels: int, use_vae: bool, **options: Any
) -> Generator:
    """A generator that is called as generator(segmap, z=...) -> images [B,3,H,W] in [-1, 1].

    name: gaugan, clade, sean or scgan. size: (height, width), which five upsamplings have to reach. channels: width of
    the last block, 64 in gaugan, clade and sean, 48 in scgan with a VAE and 32 without.
    use_vae: whether it is called with the style code z [B,256] of an encoder. sean never is, whatever this says, but
    with style_codes=sean.style_codes(image, segmap) and, if wanted, noise.
    options: all but clade: `spade_hidden` (128); gaugan and clade: `upsamplings` 5 or 6 (published as "more"); clade:
    `distance_map`, and then it is called with distance=... [B,2,H,W]; sean: `style_channels` (512),
    `style_encoder_channels` (32); scgan: `routing_channels`, `fc_channels`, `conv_experts`,
    `norm_experts`, `temperature`, `spectral_routing`, `position`, by default those of the released family with or
    without a VAE.
    Raises InputError for another name and for a size that it does not reach.
    """
    _check(name)
    try:
        if name == "gaugan":
            generator: Generator = SPADEGenerator(num_classes, size, channels, use_vae, **options)
        elif name == "clade":
            generator = CLADEGenerator(num_classes, size, channels, use_vae, **options)
        elif name == "sean":
            generator = SEANGenerator(num_classes, size, channels, **options)
        else:
            family = SCGAN_WITH_VAE if use_vae else SCGAN_WITHOUT_VAE
            generator = SCGANGenerator(num_classes, size, channels, use_vae, **{**family, **options})
    except ValueError as error:
        raise InputError(f"data.size: {error}") from None
    initialize(generator, spectral=name == "scgan")
    return generator


def build_encoder(name: str, channels: int = 64) -> ImageEncoder:
    """The encoder that goes with a generator `channels` wide; called encoder(image) -> mean and log variance [B,256].

    Raises InputError for another name, and for sean, whose style encoder is a part of its generator.
    """
    _check(name)
    if name == "sean":
        raise InputError("sean: the style encoder is a part of the generator, and there is no other")
    encoder = ImageEncoder(channels)
    initialize(encoder, spectral=name == "scgan")
    return encoder


def build_discriminator(
    name: str, num_classes: int = NUM_CLASSES, channels: int = 64, use_vae: bool = True
) -> nn.Module:
    """The published discriminator of a GAN; called discriminator(segmap, image) -> Verdict.

    scgan's depends on the family: patches at two scales with a VAE, a feature pyramid without. name "oasis" gives
    OASIS' instead, called discriminator(image) -> logits [B,1+num_classes,H,W]. Raises InputError for another name.
    """
    if name == "oasis":
        discriminator: nn.Module = OASISDiscriminator(num_classes, channels)
    else:
        _check(name)
        if name == "scgan" and not use_vae:
            discriminator = FPSEDiscriminator(num_classes, channels)
        else:
            strides = (2, 2, 2) if name == "sean" else (2, 2, 2, 1)
            discriminator = MultiscaleDiscriminator(num_classes, channels, strides)
    initialize(discriminator, spectral=name == "scgan")
    return discriminator


def _check(name: str) -> None:
    if name not in NAMES:
        raise InputError(f"method {name}: not one of {', '.join(NAMES)}")
