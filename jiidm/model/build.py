"""From config sections to core objects. No other module builds these."""

from __future__ import annotations

from jiidm.classes import NUM_CLASSES
from jiidm.config.schema import AutoencoderConfig, Config, Round, ScheduleConfig
from ldm_jittor.autoencoder import AutoencoderKL, VQModel
from ldm_jittor.denoiser import Settings
from ldm_jittor.schedules import NoiseSchedule
from ldm_jittor.unet import UNet


def build_autoencoder(config: AutoencoderConfig) -> VQModel | AutoencoderKL:
    ddconfig = {
        "ch": config.channels,
        "ch_mult": config.channel_mult,
        "num_res_blocks": config.num_res_blocks,
        "in_channels": 3,
        "out_ch": 3,
        "z_channels": config.latent_channels,
    }
    groups = {"norm_groups": config.norm_groups, "norm_min_channels": config.norm_min_channels}
    if config.kind == "kl":
        return AutoencoderKL(ddconfig, config.latent_channels, **groups)
    return VQModel(ddconfig, config.codebook_size, config.latent_channels, **groups)


def build_unet(config: Config) -> UNet:
    channels = config.autoencoder.latent_channels
    unet = config.unet
    return UNet(
        in_channels=channels,
        model_channels=unet.model_channels,
        out_channels=2 * channels if unet.learn_variance else channels,
        num_res_blocks=unet.num_res_blocks,
        attention_downsamples=unet.attention_downsamples,
        channel_mult=unet.channel_mult,
        num_classes=NUM_CLASSES,
        num_head_channels=unet.num_head_channels,
        spade_hidden=unet.spade_hidden,
        norm_groups=unet.norm_groups,
        norm_min_channels=unet.norm_min_channels,
        prediction=unet.prediction,
    )


def build_schedule(config: ScheduleConfig) -> NoiseSchedule:
    if config.kind == "paper":
        return NoiseSchedule.paper(config.num_timesteps, config.slope)
    if config.kind == "linear":
        return NoiseSchedule.linear(config.num_timesteps, config.beta_start, config.beta_end)
    return NoiseSchedule.cosine(config.num_timesteps)


def build_settings(round_: Round) -> Settings:
    """What a round decides about predictions."""
    return Settings(
        guidance_scale=round_.guidance_scale,
        guidance_rescale=round_.guidance_rescale,
        clip_x0=round_.clip_x0,
        dynamic_thresholding_ratio=round_.dynamic_thresholding_ratio,
        guidance_interval=round_.guidance_interval,
    )


def count_passes(round_: Round, schedule: NoiseSchedule) -> int:
    """How many network passes a round takes: two a guided step, one any other."""
    settings = build_settings(round_)
    timesteps = schedule.timesteps(round_.start_timestep, round_.num_steps, round_.spacing)
    return sum(map(settings.branches, timesteps))
