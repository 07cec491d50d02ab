"""What one forward pass of a network costs at a size: 2 x multiply-adds of convolutions, linears and matrix products.

Batch 1. The rule is that of published figures: every convolution counts as the published network runs it. What this kit
saves (styles folded into weights, classes looked up, what depends on the mask only computed once) does not show.

A kernel is used once for every pixel of its output, so a module costs 2 x its weights x its pixels. Each function knows
at how many pixels the parts of its network work. Nothing is computed.
"""

from __future__ import annotations

from jittor import nn

from jiidm.classes import NUM_CLASSES
from jiidm.model.gan.discriminators import FPSEDiscriminator, MultiscaleDiscriminator, PatchDiscriminator
from jiidm.model.gan.encoder import SIDE, ImageEncoder
from jiidm.model.gan.generator import Generator
from jiidm.model.gan.oasis import OASISDiscriminator
from jiidm.model.gan.scgan import LEVELS, POSITION_LEVELS, POSITION_WINDOW, SCGANGenerator
from jiidm.model.gan.sean import SEANGenerator
from jiidm.model.gan.spectral_norm import SpectralConv2d
from jiidm.size import Size
from ldm_jittor.autoencoder import AutoencoderKL, Decoder, Encoder, VQModel
from ldm_jittor.layers import AttentionBlock
from ldm_jittor.unet import ResBlock, SPADEResBlock, UNet

GIGA = 1e9


def count_parameters(module: nn.Module) -> int:
    """All learned numbers; running averages and the vectors of spectral norm are none."""
    return sum(parameter.numel() for parameter in module.parameters() if not parameter.is_stop_grad())


def unet_gflop(unet: UNet, latent_size: Size) -> float:
    """One pass under one mask, what it needs of the mask included."""
    pixels = [_pixels(latent_size, level) for level in range(unet.num_levels)]
    total, level = _weights(unet.time_embed) + _weights(unet.out) * pixels[0], 0
    for stage in (*unet.input_blocks, unet.middle_block, *unet.output_blocks):
        for layer in stage:
            if isinstance(layer, AttentionBlock):
                total += _weights(layer) * pixels[level] + _attention(layer.qkv.weight.shape[1], pixels[level])
            elif isinstance(layer, SPADEResBlock):
                below, level = layer.level, layer.level - layer.up
                of_input = _weights(layer.in_norm)
                total += of_input * pixels[below] + _residual(layer, pixels[level]) - of_input * pixels[level]
            elif isinstance(layer, ResBlock):
                level += layer.down
                total += _residual(layer, pixels[level])
            else:
                total += _weights(layer) * pixels[level]
    return 2 * total / GIGA


def _residual(block: ResBlock | SPADEResBlock, pixels: int) -> int:
    """A block whose layers all work at so many pixels, but that of the timestep, which works once."""
    of_timestep = _weights(block.emb_layers)
    return (_weights(block) - of_timestep) * pixels + of_timestep


def encode_gflop(autoencoder: VQModel | AutoencoderKL, size: Size) -> float:
    """From an image of `size` to latents."""
    encoder: Encoder = autoencoder.encoder
    total, pixels = _weights(encoder.conv_in) * _pixels(size), 0
    for number, level in enumerate(encoder.down):
        pixels = _pixels(size, number)
        total += _weights(level.block) * pixels
        if number + 1 < len(encoder.down):
            total += _weights(level.downsample) * _pixels(size, number + 1)
    rest = _weights(encoder.conv_out) + _weights(autoencoder.quant_conv)
    return 2 * (total + _middle(encoder, pixels) + rest * pixels) / GIGA


def decode_gflop(autoencoder: VQModel | AutoencoderKL, size: Size) -> float:
    """From latents to an image of `size`, the search for the nearest codes included."""
    decoder: Decoder = autoencoder.decoder
    pixels = _pixels(size, len(decoder.up) - 1)
    codes = _weights(autoencoder.quantize) if isinstance(autoencoder, VQModel) else 0
    total = (codes + _weights(autoencoder.post_quant_conv) + _weights(decoder.conv_in)) * pixels
    total += _middle(decoder, pixels) + _weights(decoder.conv_out) * _pixels(size)
    for number, level in enumerate(decoder.up):
        total += _weights(level.block) * _pixels(size, number)
        if number > 0:
            total += _weights(level.upsample) * _pixels(size, number - 1)
    return 2 * total / GIGA


def _middle(network: Encoder | Decoder, pixels: int) -> int:
    return _weights(network.mid) * pixels + _attention(network.mid.attn_1.q.weight.shape[0], pixels)


def generator_gflop(generator: Generator) -> float:
    """An image of the generator's own size. SEAN's includes its style encoder, SCGAN's its routing net."""
    _, *first = generator.first_shape
    lowest = Size(*first)
    full = generator.upsamplings
    middle = full - 4
    doublings = {"head_0": 0, "G_middle_0": 1, "G_middle_1": middle, "conv_img": full}
    doublings |= {f"up_{number}": middle + 1 + number for number in range(4)}
    total = _weights(generator.fc) * (1 if isinstance(generator.fc, nn.Linear) else _pixels(lowest))
    total += sum(_modulated(getattr(generator, name), _pixels(lowest, -count)) for name, count in doublings.items())
    if isinstance(generator, SEANGenerator):
        total += _style_encoder(generator, _pixels(lowest, -full))
    if isinstance(generator, SCGANGenerator):
        total += _routing(generator, lowest)
    return 2 * total / GIGA


def _modulated(block: nn.Module, pixels: int) -> int:
    """A block that works at so many pixels. SEAN's linears run once for each class; CLADE's tables are looked up."""

    def uses(name: str) -> int:
        if "fc_mu" in name:
            return 1
        return 0 if name.endswith(("affine.weight", "affine.bias")) else pixels

    kernels = ((name, weight.numel()) for name, weight in block.named_parameters() if _is_kernel(name, weight))
    return sum(uses(name) * count for name, count in kernels)


def _style_encoder(generator: SEANGenerator, pixels: int) -> int:
    """The transposed convolution uses its kernel once for every pixel of its input."""
    convs = [layer for layer in generator.Zencoder.model if isinstance(layer, (nn.Conv, nn.ConvTranspose))]
    places = (pixels, pixels // 4, pixels // 16, pixels // 16, pixels // 4)
    return sum(_weights(conv) * count for conv, count in zip(convs, places, strict=True))


def _routing(generator: SCGANGenerator, lowest: Size) -> int:
    routing = generator.pyramid_spaital_routing
    pixels = [_pixels(lowest, -level) for level in range(LEVELS)]
    total = sum(_weights(getattr(routing, f"labelDec{n}")) * count for n, count in enumerate(pixels, start=1))
    if generator.position:
        total += NUM_CLASSES * POSITION_WINDOW**2 * sum(pixels[-POSITION_LEVELS:])
    return total + _weights(routing.toRGB) * pixels[-1]


def encoder_gflop(encoder: ImageEncoder) -> float:
    """A style code; photos are always stretched to one size first."""
    convs = (_weights(getattr(encoder, f"layer{n}")) * _pixels(Size(SIDE, SIDE), n) for n in range(1, 7))
    return 2 * (sum(convs) + _weights(encoder.fc_mu) + _weights(encoder.fc_var)) / GIGA


def discriminator_gflop(discriminator: nn.Module, size: Size) -> float:
    """One image of `size`, a real or a generated one."""
    if isinstance(discriminator, MultiscaleDiscriminator):
        half = Size(*((side + 1) // 2 for side in size))
        total = _patches(discriminator.discriminator_0, size) + _patches(discriminator.discriminator_1, half)
    elif isinstance(discriminator, FPSEDiscriminator):
        total = _pyramid(discriminator, size)
    elif isinstance(discriminator, OASISDiscriminator):
        total = _segmenter(discriminator, size)
    else:
        raise TypeError(f"{type(discriminator).__name__} is no discriminator of this kit")
    return 2 * total / GIGA


def _patches(discriminator: PatchDiscriminator, size: Size) -> int:
    total = 0
    for _, conv in discriminator.named_modules():
        if isinstance(conv, (nn.Conv, SpectralConv2d)):
            stride, padding = (value if isinstance(value, int) else value[0] for value in (conv.stride, conv.padding))
            kernel = (conv.weight_orig if isinstance(conv, SpectralConv2d) else conv.weight).shape[2]
            size = Size(*((side + 2 * padding - kernel) // stride + 1 for side in size))
            total += _weights(conv) * _pixels(size)
    return total


def _pyramid(discriminator: FPSEDiscriminator, size: Size) -> int:
    total = _weights(discriminator.embedding) * _pixels(size)
    on_every_map = _weights(discriminator.tf) + _weights(discriminator.seg)
    for level in range(1, 6):
        names = [f"enc{level}", *([f"lat{level}"] if level > 1 else []), *([f"final{level}"] if 1 < level < 5 else [])]
        total += sum(_weights(getattr(discriminator, name)) for name in names) * _pixels(size, level)
        total += on_every_map * _pixels(size, level) * (1 < level < 5)
    return total


def _segmenter(discriminator: OASISDiscriminator, size: Size) -> int:
    """As published, the skips' convolutions come before halving, but for the first block's, and after doubling."""
    down, up = discriminator.body_down, discriminator.body_up
    total = sum(_weights(block) * _pixels(size, level) for level, block in enumerate(down))
    total -= _weights(down[0].conv_s) * (_pixels(size) - _pixels(size, 1))
    total += sum(_weights(block) * _pixels(size, level) for block, level in zip(up, reversed(range(len(up)))))
    return total + _weights(discriminator.layer_up_last) * _pixels(size)


def _pixels(size: Size, halvings: int = 0) -> int:
    """Pixels of a map whose sides are halved so often, or doubled where it is below 0."""
    height, width = size
    if halvings < 0:
        return (height << -halvings) * (width << -halvings)
    return (height >> halvings) * (width >> halvings)


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for name, weight in module.named_parameters() if _is_kernel(name, weight))


def _is_kernel(name: str, weight) -> bool:
    return len(weight.shape) > 1 and not weight.is_stop_grad()


def _attention(channels: int, pixels: int) -> int:
    """Multiply-adds of queries with keys, and of what they give with values."""
    return 2 * channels * pixels**2
