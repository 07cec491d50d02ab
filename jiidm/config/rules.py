"""What a config's values must be together. What each must be alone stands with its field in `schema`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from jiidm.config.schema import Config

Fault = tuple[str, str]
"""A key, and what is expected there."""
Condition = tuple[str, Callable[[Config], bool]]
"""When a key has an effect, in words and as a test."""
OASIS_UNIT = 64
SMALLEST_PATCH = 24
"""Pixels a side of which the patch discriminator makes one logit: 12, 6, 3 after its strides, then 2 and 1."""
WITH_UPSAMPLINGS = ("gaugan", "clade")
"""The GANs with the setting gan.upsamplings."""


def faults(config: Config) -> Iterator[Fault]:
    """Every rule that a config of valid values breaks. Those of another method's settings do not count."""
    yield from images_fit_the_segmenter(config)
    if config.is_gan:
        yield from images_fit_the_gan(config)
        yield from images_fit_the_discriminator(config)
        yield from perceptual_loss_has_its_weights(config)
        return
    for rule in (
        images_fit_the_networks,
        channels_fit_group_norm,
        heads_fit_the_channels,
        crops_fit_the_images,
        betas_stay_below_one,
        batches_can_be_accumulated,
        rounds_fit_the_schedule,
    ):
        yield from rule(config)


def images_fit_the_segmenter(config: Config) -> Iterator[Fault]:
    if min(config.segmenter.size) < 32:
        yield "segmenter.size", "32 or more a side"


def images_fit_the_gan(config: Config) -> Iterator[Fault]:
    times = config.gan.upsamplings if config.method in WITH_UPSAMPLINGS else 5
    unit = 2**times
    if not all(side > 0 and side % unit == 0 for side in config.data.size):
        yield "data.size", f"multiples of {unit}, as a generator doubles its first features {times} times"


def images_fit_the_discriminator(config: Config) -> Iterator[Fault]:
    if config.gan_training.adversarial == "oasis" and any(side % OASIS_UNIT for side in config.data.size):
        yield "data.size", f"multiples of {OASIS_UNIT}, as OASIS' discriminator halves it six times"


def perceptual_loss_has_its_weights(config: Config) -> Iterator[Fault]:
    training = config.gan_training
    if training.perceptual == "vgg19" and training.perceptual_file is None:
        yield "gan_training.perceptual_file", "the path of torchvision's vgg19-dcbb9e9d.pth"


def images_fit_the_networks(config: Config) -> Iterator[Fault]:
    unit = config.autoencoder.downsample * 2 ** (len(config.unet.channel_mult) - 1)
    if not all(side > 0 and side % unit == 0 for side in config.data.size):
        yield "data.size", f"multiples of {unit}, as the autoencoder and the U-Net halve it"


def channels_fit_group_norm(config: Config) -> Iterator[Fault]:
    for key, section in (("autoencoder.channels", config.autoencoder), ("unet.model_channels", config.unet)):
        groups, least = section.norm_groups, section.norm_min_channels
        for width in sorted(section.widths):
            unit = least if least > 1 and width < groups * least else groups
            if width % unit:
                yield key, f"a multiple of {unit}, for group norm: {width} channels do not divide"


def heads_fit_the_channels(config: Config) -> Iterator[Fault]:
    """Attention is at the levels of `attention_downsamples`, and in the middle, which has the last level's channels."""
    unet = config.unet
    mults = [mult for level, mult in enumerate(unet.channel_mult) if 2**level in unet.attention_downsamples]
    if any(mult * unet.model_channels % unet.num_head_channels for mult in (*mults, unet.channel_mult[-1])):
        yield "unet.num_head_channels", "a divisor of the channels of every level with attention, and the last"


def crops_fit_the_images(config: Config) -> Iterator[Fault]:
    downsample, crop = config.autoencoder.downsample, config.autoencoder_training.crop_size
    if not all(0 < side <= full and side % downsample == 0 for side, full in zip(crop, config.data.size)):
        yield "autoencoder_training.crop_size", f"at most data.size, in multiples of {downsample}"


def betas_stay_below_one(config: Config) -> Iterator[Fault]:
    schedule, steps = config.schedule, config.schedule.num_timesteps
    if schedule.kind == "paper" and schedule.slope > 1 / steps * (1 + 1e-9):
        yield "schedule.slope", f"at most 1/{steps}: betas end at 1"
    if not schedule.beta_start <= schedule.beta_end <= 1:
        yield "schedule.beta_end", "beta_start to 1"


def batches_can_be_accumulated(config: Config) -> Iterator[Fault]:
    training = config.diffusion_training
    if training.batch_size % training.accumulation_steps:
        yield "diffusion_training.batch_size", f"a multiple of accumulation_steps = {training.accumulation_steps}"


def batches_fit_ranks(config: Config, trained: Sequence[str], ranks: int) -> Iterator[tuple[str, int, str]]:
    """The batch sizes of these sections that so many ranks cannot share equally: key, value, what is expected."""
    for name in trained:
        section = getattr(config, name)
        parts = ranks * getattr(section, "accumulation_steps", 1)
        if section.batch_size % parts:
            accumulation = "" if parts == ranks else f" times accumulation_steps = {parts // ranks}"
            yield f"{name}.batch_size", section.batch_size, f"a multiple of ranks = {ranks}{accumulation}"


def autoencoder_can_be_trained(config: Config) -> Iterator[tuple[str, object, str]]:
    """What only matters to a run that trains one: key, value, what is expected. Codes need steps, patches pixels."""
    training = config.autoencoder_training
    start, crop = training.quantization_start, training.crop_size
    if _is_vq(config) and start >= training.max_steps:
        yield "autoencoder_training.quantization_start", start, f"less than max_steps = {training.max_steps}"
    if training.discriminator_start < training.max_steps and min(crop) < SMALLEST_PATCH:
        yield "autoencoder_training.crop_size", crop, f"{SMALLEST_PATCH} or more a side, for the discriminator"


def rounds_fit_the_schedule(config: Config) -> Iterator[Fault]:
    if not config.inference.rounds:
        yield "inference.rounds", "one round at least"
    last = config.schedule.num_timesteps - 1
    for number, round_ in enumerate(config.inference.rounds):
        key, start = f"inference.rounds.{number}", round_.start_timestep
        if not 0 <= start <= last:
            yield f"{key}.start_timestep", f"0 to {last}"
        if not 1 <= round_.num_steps <= start + 1:
            yield f"{key}.num_steps", f"1 to {start + 1}"
        if round_.spacing == "logsnr" and start == last and config.schedule.ends_in_noise:
            yield f"{key}.spacing", f"another: abar is 0 at timestep {start}"
        if round_.guidance_interval is not None and round_.guidance_interval[1] > last:
            yield f"{key}.guidance_interval", f"timesteps of 0 to {last}"
        elif round_.guidance_interval is not None and round_.guidance_interval[0] > start:
            yield f"{key}.guidance_interval", f"a part of the round, which starts at {start}"
        if round_.dynamic_thresholding_ratio is not None and round_.clip_x0 is None:
            yield f"{key}.dynamic_thresholding_ratio", "null, or clip_x0 beside it: the range to shrink to"
    noised, count = config.released.noise_timesteps, len(config.inference.rounds)
    if noised is not None and not (len(noised) == count and all(0 <= timestep <= last for timestep in noised)):
        yield "released.noise_timesteps", f"{count} timesteps, one a round, of 0 to {last}"


def _is_vq(config: Config) -> bool:
    return config.autoencoder.kind == "vq"


def _is_linear(config: Config) -> bool:
    return config.schedule.kind == "linear"


def _takes_distances(config: Config) -> bool:
    return bool(config.main_training.distance_every)


def _has_perceptual_loss(config: Config) -> bool:
    return config.gan_training.perceptual != "none"


def _is_adversarial(name: str) -> Condition:
    return f"gan_training.adversarial is {name}", lambda config: config.gan_training.adversarial == name


def _is_method(*names: str) -> Condition:
    return f"method is {' or '.join(names)}", lambda config: config.method in names


_OF_IIDM = (
    *("autoencoder", "unet", "schedule", "autoencoder_training", "diffusion_training", "released"),
    *("inference.rounds", "inference.modulation_memory", "inference.fast_steps"),
    "inference.color_space",
)
_OF_GANS = ("gan", "gan_training")
_OF_THE_VAE = ("gan.use_vae", "gan.sample_style", "gan_training.kl_weight")

EFFECT_DEPENDS_ON: list[tuple[str, Condition]] = [
    *((name, _is_method("iidm")) for name in _OF_IIDM),
    *((name, _is_method("gaugan", "clade", "sean", "scgan")) for name in _OF_GANS),
    *((name, _is_method("gaugan", "clade", "scgan")) for name in _OF_THE_VAE),
    *((name, ("gan.use_vae is true", lambda config: config.gan.use_vae)) for name in _OF_THE_VAE[1:]),
    ("gan.upsamplings", _is_method(*WITH_UPSAMPLINGS)),
    ("gan.distance_map", _is_method("clade")),
    ("gan.spade_hidden", _is_method("gaugan", "sean", "scgan")),
    *((name, _is_method("sean")) for name in ("gan.style_channels", "gan.style_encoder_channels")),
    *((name, _is_method("scgan")) for name in ("gan.routing_channels", "gan.fc_channels")),
    ("gan_training.auxiliary_weight", _is_method("scgan")),
    ("gan_training.feature_weight", _is_adversarial("hinge")),
    ("gan_training.labelmix_weight", _is_adversarial("oasis")),
    *(
        (f"gan_training.{name}", ("gan_training.perceptual is vgg19 or autoencoder", _has_perceptual_loss))
        for name in ("perceptual_file", "perceptual_weight")
    ),
    *(
        (name, ("autoencoder.kind is vq", _is_vq))
        for name in ("autoencoder.codebook_size", "autoencoder_training.quantization_start")
    ),
    ("schedule.slope", ("schedule.kind is paper", lambda config: config.schedule.kind == "paper")),
    *((name, ("schedule.kind is linear", _is_linear)) for name in ("schedule.beta_start", "schedule.beta_end")),
    *(
        (f"{section}.{name}", (f"{section}.distance_every is set", _takes_distances))
        for section in ("diffusion_training", "gan_training")
        for name in ("distance_images", "keep_best")
    ),
    (
        "inference.color_space",
        (
            "a round has color_transfer",
            lambda config: any(round_.color_transfer for round_ in config.inference.rounds),
        ),
    ),
]
"""Keys and sections that have an effect only beside another one: when, in words and as a test."""
_OF_GUIDANCE = re.compile(r"(inference\.rounds\.(\d+))\.guidance_(?:interval|rescale)\b")


def without_effect(config: Config, key: str) -> str | None:
    """When a key would have an effect, in words, if it has none in this config. `--set` refuses it there."""
    for name, (condition, holds) in EFFECT_DEPENDS_ON:
        if f"{key}.".startswith(f"{name}.") and not holds(config):
            return condition
    guided = _OF_GUIDANCE.match(key)
    if guided and config.inference.rounds[int(guided[2])].guidance_scale == 1:
        return f"{guided[1]}.guidance_scale is not 1"
    return None
