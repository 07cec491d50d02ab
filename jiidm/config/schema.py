"""The content of a config: frozen dataclasses, one per section of the YAML file, with defaults and bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jiidm.config.bounds import at_least, below_one, between, bounded, positive, positive_list
from jiidm.size import CHALLENGE_SIZE, Size


@dataclass(frozen=True)
class DataConfig:
    size: Size = CHALLENGE_SIZE
    """At which the model works. Files of another size are resized."""
    validation_fraction: float = bounded(lambda share: 0 < share < 1, "a number between 0 and 1", default=0.05)
    synthetic_count: int = at_least(1, default=2000)
    """Landscapes to generate when a training run is given no data."""


@dataclass(frozen=True)
class AutoencoderConfig:
    kind: Literal["vq", "kl"] = "vq"
    channels: int = at_least(1, default=128)
    channel_mult: tuple[int, ...] = positive_list(default=(1, 2, 4))
    num_res_blocks: int = at_least(1, default=2)
    latent_channels: int = bounded(lambda count: count >= 3, "3 or more, one a colour", default=3)
    codebook_size: int = at_least(1, default=8192)
    norm_groups: int = at_least(1, default=32)
    """Groups of every group norm; or fewer, where one would have less than norm_min_channels channels. Other projects'
    models have 32 at every width."""
    norm_min_channels: int = at_least(1, default=1)
    """One channel a group is instance norm, which erases every colour's mean: small models did not learn with it."""
    latent_scale: float = positive(default=1.0)
    """Factor on the latents. Autoencoders trained here bring their own, one over the latents' standard deviation."""

    @property
    def downsample(self) -> int:
        return 2 ** (len(self.channel_mult) - 1)

    @property
    def widths(self) -> set[int]:
        """Channels of all group norms."""
        return {self.channels * mult for mult in (1, *self.channel_mult)}


@dataclass(frozen=True)
class UNetConfig:
    model_channels: int = at_least(1, default=256)
    channel_mult: tuple[int, ...] = positive_list(default=(1, 1, 2, 3, 4))
    num_res_blocks: int = at_least(1, default=2)
    attention_downsamples: tuple[int, ...] = (4, 8, 16)
    num_head_channels: int = at_least(1, default=64)
    spade_hidden: int = at_least(1, default=128)
    learn_variance: bool = True
    prediction: Literal["eps", "v"] = "eps"
    """What the network is trained to give: the noise, or the velocity (Salimans & Ho 2022)."""
    norm_groups: int = at_least(1, default=32)
    """As autoencoder.norm_groups."""
    norm_min_channels: int = at_least(1, default=1)

    @property
    def widths(self) -> set[int]:
        """Channels of all group norms: of every level, and of what the decoder concatenates from two of them."""
        levels = [self.model_channels * mult for mult in self.channel_mult]
        before = [self.model_channels, *levels]
        doubled = levels if self.num_res_blocks > 1 else levels[-1:]
        return {*before, *map(sum, zip(before, levels)), *(2 * width for width in doubled)}


@dataclass(frozen=True)
class ScheduleConfig:
    kind: Literal["paper", "linear", "cosine"] = "linear"
    num_timesteps: int = at_least(1, default=1000)
    slope: float = positive(default=1e-3)
    """beta_t = slope * t, of the paper's schedule."""
    beta_start: float = positive(default=1e-4)
    beta_end: float = 2e-2

    @property
    def ends_in_noise(self) -> bool:
        """Whether the last beta is 1, and abar 0."""
        return {"paper": self.slope * self.num_timesteps, "linear": self.beta_end, "cosine": 0.0}[self.kind] >= 1


@dataclass(frozen=True)
class AutoencoderTraining:
    max_steps: int = at_least(1, default=100_000)
    batch_size: int = at_least(1, default=8)
    crop_size: Size = Size(256, 256)
    learning_rate: float = positive(default=1e-4)
    warmup_steps: int = at_least(0, default=1000)
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """The course after the warm-up. Cosine falls to zero at max_steps, which pays in short runs."""
    regularization_weight: float = at_least(0, default=1.0)
    """Weight of the codebook loss, or of the KL."""
    quantization_start: int = at_least(0, default=0)
    """The step from which a VQ autoencoder quantises. The first codes are latents of that time.

    Codes from the first step on have to follow latents that move quickly. Short runs do not recover from that.
    """
    discriminator_start: int = at_least(0, default=50_000)
    discriminator_weight: float = at_least(0, default=0.75)
    checkpoint_every: int = at_least(1, default=500)
    """Steps between two saved states, from which an interrupted run goes on."""


@dataclass(frozen=True)
class DiffusionTraining:
    max_steps: int = at_least(1, default=300_000)
    batch_size: int = at_least(1, default=16)
    """Samples per optimizer step, over all accumulation steps."""
    accumulation_steps: int = at_least(1, default=1)
    gradient_checkpointing: bool = False
    """Keep less for the backward pass and compute it again: half the activations' memory, a third more time."""
    learning_rate: float = positive(default=1e-4)
    warmup_steps: int = at_least(0, default=1000)
    lr_schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = at_least(0, default=0.0)
    ema_decay: float = below_one(default=0.9999)
    loss_weighting: Literal["uniform", "min_snr"] = "uniform"
    """How timesteps share the loss. "min_snr" takes weight off those with little noise (Hang et al. 2023)."""
    mask_dropout: float = below_one(default=0.2)
    """Share of samples that are trained with the null mask, for classifier-free guidance."""
    log_every: int = at_least(1, default=100)
    validate_every: int = at_least(1, default=5000)
    checkpoint_every: int = at_least(1, default=10_000)
    distance_every: int | None = at_least(0, default=None)
    """Steps between two Frechet distances of validation images to their masks' photos. Null or 0: none are taken."""
    distance_images: int = at_least(2, default=200)
    """Validation masks for one distance, or as many as there are."""
    keep_best: int = at_least(2, default=2)
    """How many checkpoints are kept besides the last, two or more: those of the smallest distances."""


@dataclass(frozen=True)
class SegmenterConfig:
    """The network that reads masks off generated images, and its training: `jiidm train segmenter`."""

    variant: Literal["tiny", "b0", "b1", "b2", "b3", "b4", "b5"] = "b0"
    size: Size = CHALLENGE_SIZE
    """At which it sees every image."""
    max_steps: int = at_least(1, default=100_000)
    batch_size: int = at_least(1, default=8)
    learning_rate: float = positive(default=2e-4)
    warmup_steps: int = at_least(0, default=1500)
    lr_schedule: Literal["constant", "cosine"] = "cosine"
    weight_decay: float = at_least(0, default=0.01)
    checkpoint_every: int = at_least(1, default=500)
    """Steps between two saved states, and two looks at the validation pairs."""


@dataclass(frozen=True)
class Round:
    """One pass of Algorithm 2: noise to `start_timestep` (0-based), denoise in `num_steps`."""

    start_timestep: int
    num_steps: int
    sampler: Literal["ddpm", "ddim", "dpmpp_2m", "unipc"] = "ddim"
    guidance_scale: float = at_least(0, default=1.0)
    color_transfer: Literal[False, True, "region"] = False
    """Give the round's input the reference's colours first; with "region" each class those of the same class."""
    spacing: Literal["trailing", "linspace", "logsnr"] = "trailing"
    """How the steps are spaced, see NoiseSchedule.timesteps.

    "trailing" is even in time and stops short of timestep 0; "linspace" includes it. "logsnr" is even in log-SNR, which
    suits dpmpp_2m and unipc in few steps.
    """
    guidance_rescale: float = between(0, 1, default=0.0)
    """How far guided noise gets back the spread of the noise without guidance (Lin et al. 2023). 0: not at all."""
    clip_x0: float | None = positive(default=None)
    """Bound on predicted clean latents, whose standard deviation is about 1. Null: none.

    A chain from the noisiest timesteps leaves the latents' range without one.
    """
    dynamic_thresholding_ratio: float | None = bounded(lambda ratio: 0 < ratio <= 1, "above 0 to 1", default=None)
    """Shrink predicted clean latents until this share of an image's values is within clip_x0, and clip the rest.

    The dynamic thresholding of Imagen (Saharia et al. 2022). Null: clip only.
    """
    guidance_interval: tuple[int, int] | None = bounded(
        lambda interval: 0 <= interval[0] <= interval[1], "two timesteps, the lower one first", default=None
    )
    """Guide from the first to the second of these timesteps only. Steps outside cost half (Kynkaanniemi et al. 2024).

    Null: guide every step.
    """


@dataclass(frozen=True)
class InferenceConfig:
    rounds: tuple[Round, ...] = (Round(600, 20),)
    batch_size: int = at_least(1, default=4)
    modulation_memory: float = positive(default=2.0)
    """GiB for what is computed once from a batch's masks and kept. A batch that needs more is split."""
    fast_steps: int = at_least(1, default=10)
    """The most steps that a round of `--fast` takes."""
    color_space: Literal["lab8", "lalphabeta"] = "lab8"
    jpeg_quality: int = between(1, 100, default=95)


@dataclass(frozen=True)
class ReleasedConfig:
    """Defects of the released code that change its images, to measure what each of them costs."""

    jpeg_between_rounds: int | None = between(1, 100, default=None)
    """Quality of the JPEG files through which it hands images to the next round. Null: no files."""
    noise_timesteps: tuple[int, ...] | None = None
    """For each round the timestep whose noise level its input gets.

    Null: that of start_timestep, which the network expects.
    """


@dataclass(frozen=True)
class GANConfig:
    """The networks of a GAN. Widths are those of its publication where they are no setting."""

    channels: int = at_least(1, default=64)
    """Width of the generator's last block, and of the VAE's encoder. Published: 64; scgan 48 with a VAE, else 32."""
    use_vae: bool = True
    """Whether a reference gives its style through GauGAN's encoder. Without it only sean's has a style."""
    sample_style: bool = False
    """Draw the style from the distribution that the encoder gives, as the released code does, or take its mean."""
    upsamplings: Literal[5, 6] = 5
    """How often a generator doubles its first features. 6 is GauGAN's variant "more", which CLADE has too."""
    distance_map: bool = False
    """CLADE's scales and shifts also depend on where in its region a pixel lies."""
    spade_hidden: int = at_least(1, default=128)
    """Width between a mask and the scales and shifts that gaugan, sean and scgan convolve from it."""
    style_channels: int = at_least(1, default=512)
    """Width of SEAN's style code of a class."""
    style_encoder_channels: int = at_least(1, default=32)
    """Width of the first features of SEAN's style encoder."""
    routing_channels: int = at_least(2, default=32)
    """Width of SCGAN's routing net."""
    fc_channels: int = at_least(1, default=32)
    """Width of SCGAN's first features, a sixteenth of their number."""


@dataclass(frozen=True)
class GANTraining:
    """Adam with two learning rates (TTUR, Heusel et al. 2017), and the weights of the losses."""

    max_steps: int = at_least(1, default=500_000)
    """Steps of the generator, each with one of the discriminator."""
    batch_size: int = at_least(1, default=4)
    generator_rate: float = positive(default=1e-4)
    discriminator_rate: float = positive(default=4e-4)
    decay_steps: int = at_least(0, default=250_000)
    """Both rates fall to 0 in a straight line over the last so many steps."""
    adam_beta2: float = below_one(default=0.9)
    """The first beta is 0. SCGAN was trained with 0.999, the others with 0.9."""
    adversarial: Literal["hinge", "oasis"] = "hinge"
    """The published discriminator with hinge loss and feature matching; or OASIS', which segments the images."""
    perceptual: Literal["none", "vgg19", "autoencoder"] = "none"
    """Whose features of image and photo are compared: those of ImageNet's VGG-19, as published, or of an autoencoder's
    encoder, such as that of the shipped model. Neither takes part in scores."""
    perceptual_file: str | None = None
    """Its weights: torchvision's vgg19-dcbb9e9d.pth, or any file with an autoencoder. Null: the shipped model's."""
    perceptual_weight: float = at_least(0, default=10.0)
    ema_decay: float | None = below_one(default=None)
    """Decay of averaged weights, which become the model. Null, as published: it is made of the last weights."""
    discriminator_channels: int = at_least(1, default=64)
    feature_weight: float = at_least(0, default=10.0)
    """Weight of feature matching."""
    labelmix_weight: float = at_least(0, default=10.0)
    """Weight of OASIS' consistency on images that are part photo and part fake."""
    kl_weight: float = at_least(0, default=0.05)
    """Weight of the VAE's KL divergence. It is a sum over the batch, so its share grows with batch_size."""
    auxiliary_weight: float = at_least(0, default=1.0)
    """Weight of the L1 distance of the image that SCGAN's routing net makes."""
    log_every: int = at_least(1, default=100)
    checkpoint_every: int = at_least(1, default=5000)
    """Steps between two saved states, and two sheets of sample images."""
    distance_every: int | None = at_least(0, default=None)
    """As diffusion_training.distance_every. With distances the model is the checkpoint of the smallest one."""
    distance_images: int = at_least(2, default=200)
    keep_best: int = at_least(2, default=2)


@dataclass(frozen=True)
class Config:
    name: str = "iidm"
    seed: int = 0
    method: Literal["iidm", "gaugan", "clade", "sean", "scgan"] = "iidm"
    """The diffusion model, or one of the GANs that the paper compares it with."""
    data: DataConfig = field(default_factory=DataConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    autoencoder_training: AutoencoderTraining = field(default_factory=AutoencoderTraining)
    diffusion_training: DiffusionTraining = field(default_factory=DiffusionTraining)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    released: ReleasedConfig = field(default_factory=ReleasedConfig)
    gan: GANConfig = field(default_factory=GANConfig)
    gan_training: GANTraining = field(default_factory=GANTraining)

    @property
    def is_gan(self) -> bool:
        return self.method != "iidm"

    @property
    def main_training(self) -> DiffusionTraining | GANTraining:
        """The section that trains what generates images."""
        return self.gan_training if self.is_gan else self.diffusion_training

    @property
    def has_vae(self) -> bool:
        """Whether a GAN's style comes from the VAE's encoder. SEAN's has its own instead."""
        return self.is_gan and self.gan.use_vae and self.method != "sean"

    @property
    def draws_noise(self) -> bool:
        """Whether images depend on the seed."""
        return not self.is_gan or self.method == "sean" or self.has_vae and self.gan.sample_style

    @property
    def uses_reference_masks(self) -> bool:
        """Whether the references' own masks decide the images."""
        if self.is_gan:
            return self.method == "sean"
        return any(round_.color_transfer == "region" for round_ in self.inference.rounds)

    @property
    def latent_size(self) -> Size:
        height, width = self.data.size
        return Size(height // self.autoencoder.downsample, width // self.autoencoder.downsample)
