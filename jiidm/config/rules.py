"""What a config's values must be together. What each must be alone stands with its field in `schema`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jiidm.config.schema import Config

Fault = tuple[str, str]
"""A key, and what is expected there."""


def faults(config: Config) -> Iterator[Fault]:
    """Every rule that a config of valid values breaks."""
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


def images_fit_the_networks(config: Config) -> Iterator[Fault]:
    unit = config.autoencoder.downsample * 2 ** (len(config.unet.channel_mult) - 1)
    if not all(side > 0 and side % unit == 0 for side in config.data.size):
        yield "data.size", f"multiples of {unit}, as the autoencoder and the U-Net halve it"
    if min(config.segmenter.size) < 32:
        yield "segmenter.size", "32 or more a side"


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
    noised, count = config.released.noise_timesteps, len(config.inference.rounds)
    if noised is not None and not (len(noised) == count and all(0 <= timestep <= last for timestep in noised)):
        yield "released.noise_timesteps", f"{count} timesteps, one a round, of 0 to {last}"


def _is_vq(config: Config) -> bool:
    return config.autoencoder.kind == "vq"


def _is_linear(config: Config) -> bool:
    return config.schedule.kind == "linear"


def _takes_distances(config: Config) -> bool:
    return bool(config.diffusion_training.distance_every)


EFFECT_DEPENDS_ON: dict[str, tuple[str, Callable[[Config], bool]]] = {
    "autoencoder.codebook_size": ("autoencoder.kind is vq", _is_vq),
    "autoencoder_training.quantization_start": ("autoencoder.kind is vq", _is_vq),
    "schedule.slope": ("schedule.kind is paper", lambda config: config.schedule.kind == "paper"),
    "schedule.beta_start": ("schedule.kind is linear", _is_linear),
    "schedule.beta_end": ("schedule.kind is linear", _is_linear),
    "diffusion_training.distance_images": ("diffusion_training.distance_every is set", _takes_distances),
    "diffusion_training.keep_best": ("diffusion_training.distance_every is set", _takes_distances),
    "inference.color_space": (
        "a round has color_transfer",
        lambda config: any(round_.color_transfer for round_ in config.inference.rounds),
    ),
}
"""Keys that have an effect only beside another one: when, in words and as a test. `--set` refuses them elsewhere."""
