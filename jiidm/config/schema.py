"""What a config holds: frozen dataclasses, one per section of the YAML file, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class DataConfig:
    size: tuple[int, int] = (512, 384)
    """Width and height at which the model works; files of another size are resized."""
    validation_fraction: float = 0.05
    synthetic_count: int = 2000
    """Pictures to generate when a training run is given no data."""


@dataclass(frozen=True)
class AutoencoderConfig:
    kind: Literal["vq", "kl"] = "vq"
    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4)
    num_res_blocks: int = 2
    latent_channels: int = 3
    codebook_size: int = 8192
    latent_scale: float = 1.0
    """Factor on the latents. Autoencoders trained here bring their own, one over the latents' standard deviation."""

    @property
    def downsample(self) -> int:
        return 2 ** (len(self.channel_mult) - 1)


@dataclass(frozen=True)
class UNetConfig:
    model_channels: int = 256
    channel_mult: tuple[int, ...] = (1, 1, 2, 3, 4)
    num_res_blocks: int = 2
    attention_downsamples: tuple[int, ...] = (4, 8, 16)
    num_head_channels: int = 64
    spade_hidden: int = 128
    learn_variance: bool = True


@dataclass(frozen=True)
class ScheduleConfig:
    kind: Literal["paper", "linear", "cosine"] = "linear"
    num_timesteps: int = 1000
    slope: float = 1e-3
    """beta_t = slope * t, of the paper's schedule."""
    beta_start: float = 1e-4
    beta_end: float = 2e-2

    @property
    def ends_in_noise(self) -> bool:
        """Whether the last beta is 1, and abar 0."""
        return {"paper": self.slope * self.num_timesteps, "linear": self.beta_end, "cosine": 0.0}[self.kind] >= 1


@dataclass(frozen=True)
class AutoencoderTraining:
    max_steps: int = 100_000
    batch_size: int = 8
    crop_size: tuple[int, int] = (256, 256)
    learning_rate: float = 1e-4
    warmup_steps: int = 1000
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """After the warm-up; cosine falls to zero at max_steps, which pays in short runs."""
    regularization_weight: float = 1.0
    """Weight of the codebook loss, or of the KL."""
    quantization_start: int = 0
    """The step from which a VQ autoencoder quantises, with codes at latents of that time. From the first, codes have
    to follow latents that move quickly, which short runs do not recover from."""
    discriminator_start: int = 50_000
    discriminator_weight: float = 0.75


@dataclass(frozen=True)
class DiffusionTraining:
    max_steps: int = 300_000
    batch_size: int = 16
    """Samples per optimiser step, over all accumulation steps."""
    accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    """Keep less for the backward pass and compute it again: half the activations' memory for a third more time."""
    learning_rate: float = 1e-4
    warmup_steps: int = 1000
    lr_schedule: Literal["constant", "cosine"] = "constant"
    weight_decay: float = 0.0
    ema_decay: float = 0.9999
    mask_dropout: float = 0.2
    """Share of samples trained with the null mask, for classifier-free guidance."""
    log_every: int = 100
    validate_every: int = 5000
    checkpoint_every: int = 10_000
    distance_every: int | None = None
    """Steps between two Frechet distances of painted validation masks to their photos; null or 0: none are taken."""
    distance_images: int = 200
    """Masks painted for one, or as many as there are."""
    keep_best: int = 2
    """How many of the checkpoints with a distance are kept besides the last, two or more: those of the smallest."""


@dataclass(frozen=True)
class SegmenterConfig:
    """The network that judges painted images by their masks, and its training: `jiidm train segmenter`."""

    variant: Literal["tiny", "b0", "b1", "b2", "b3", "b4", "b5"] = "b0"
    size: tuple[int, int] = (512, 384)
    """Width and height at which it sees every image."""
    max_steps: int = 100_000
    batch_size: int = 8
    learning_rate: float = 2e-4
    warmup_steps: int = 1500
    lr_schedule: Literal["constant", "cosine"] = "cosine"
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Round:
    """One pass of Algorithm 2: noise to `start_timestep` (0-based), denoise in `num_steps`."""

    start_timestep: int
    num_steps: int
    sampler: Literal["ddpm", "ddim", "dpmpp_2m"] = "ddim"
    guidance_scale: float = 1.0
    color_transfer: bool = False
    """Give the round's input the reference's colours first."""
    spacing: Literal["trailing", "linspace", "logsnr"] = "trailing"
    """Evenly in time, stopping short of timestep 0 or including it, or evenly in log-SNR, which suits dpmpp_2m in few
    steps; see NoiseSchedule.timesteps."""


@dataclass(frozen=True)
class InferenceConfig:
    rounds: tuple[Round, ...] = (Round(600, 20),)
    batch_size: int = 4
    modulation_memory: float = 2.0
    """GiB for what is computed from a batch's masks once and kept; a batch that needs more is split."""
    clip_x0: float | None = None
    """Bound on predicted clean latents in standard deviations, or null."""
    fast_steps: int = 10
    """Most steps that a round of `--fast` takes."""
    color_space: Literal["lab8", "lalphabeta"] = "lab8"
    jpeg_quality: int = 95


@dataclass(frozen=True)
class ReleasedConfig:
    """Defects of the released code that change its images, to measure what each of them costs."""

    jpeg_between_rounds: int | None = None
    """Quality of the JPEG files through which it hands images to the next round. Null: no files."""
    noise_timesteps: tuple[int, ...] | None = None
    """For each round the timestep whose noise level its input gets. Null: that of start_timestep, which is what the
    network expects."""


@dataclass(frozen=True)
class Config:
    name: str = "iidm"
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    unet: UNetConfig = field(default_factory=UNetConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    autoencoder_training: AutoencoderTraining = field(default_factory=AutoencoderTraining)
    diffusion_training: DiffusionTraining = field(default_factory=DiffusionTraining)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    released: ReleasedConfig = field(default_factory=ReleasedConfig)

    @property
    def latent_size(self) -> tuple[int, int]:
        """Width and height of the latents."""
        width, height = self.data.size
        return width // self.autoencoder.downsample, height // self.autoencoder.downsample
