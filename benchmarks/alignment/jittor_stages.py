"""Jittor's end: the kit's own stages for its own training loop. They note what they are given, and when steps end.

Import this once the device is chosen.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jittor as jt
import numpy as np

from benchmarks.alignment import parts
from benchmarks.common import jittor_side, sizes
from jiidm.config.schema import Config
from jiidm.data.identity import hash_files
from jiidm.data.images import resize_mask
from jiidm.data.latents import LatentDataset, encode_dataset
from jiidm.data.pairs import Pair, files_of, find_pairs
from jiidm.data.synthetic.dataset import landscape, write_dataset
from jiidm.model.files import SHIPPED, ModelFile
from jiidm.pipeline import Pipeline
from jiidm.seeding import normal
from jiidm.size import Size
from jiidm.train.autoencoder import AutoencoderStage
from jiidm.train.diffusion import DiffusionStage, Example
from jiidm.train.stage import Stage
from ldm_jittor import checkpoint
from ldm_jittor.autoencoder import LatentSpace
from ldm_jittor.ema import EMA
from ldm_jittor.pixels import to_images, to_model

Arrays = dict[str, np.ndarray]


class Noted(Stage):
    """Instead of keeping checkpoints and measuring images, it notes learning rates and when steps end."""

    log_every = 1

    def begin(self, step: int) -> None:
        super().begin(step)
        self.note_start()

    def note_start(self) -> None:
        self.start = self.weights()
        self.ends, self.rates = [time.perf_counter()], []

    def checkpoint_due(self, step: int) -> bool:
        return False

    def evaluate(self, step: int, stop_if_asked: Callable[[], None]) -> dict[str, float]:
        self.ends.append(time.perf_counter())
        self.rates.append(self.optimizer.learning_rate(step - 1))
        return {}

    def evaluate_together(self, step: int, stop_if_asked: Callable[[], None]) -> dict[str, float]:
        return {}

    def weights(self) -> Arrays:
        return checkpoint.state_dict(self.network)


class Diffusion(Noted, DiffusionStage):
    """The U-Net on latents of generated landscapes. The shipped autoencoder makes them."""

    def __init__(self, config: Config, folder: Path):
        source = ModelFile(SHIPPED)
        config = dataclasses.replace(config, autoencoder=source.config.autoencoder)
        space = LatentSpace(source.load_autoencoder(config.autoencoder), config.autoencoder.latent_scale)
        pairs, latents = landscapes(folder, config), folder / "latents"
        encoding = (pairs, hash_files(files_of(pairs)), latents, config.data.size, config.autoencoder.downsample)
        encode_dataset(space.autoencoder, source.sha256, *encoding)
        dataset = LatentDataset(latents, [pair.stem for pair in pairs], space.scale)
        super().__init__(config, dataset, dataset, folder, space, {}, lambda *_: None)

    def given(self) -> Arrays:
        schedule, rounds = self.model.schedule, self.config.inference.rounds
        timesteps = [schedule.timesteps(each.start_timestep, each.num_steps, each.spacing) for each in rounds]
        return {**batches(self), "timesteps": np.array(timesteps), **checkpoint.with_prefix("start", self.start)}

    def made(self) -> Arrays:
        averages = self.ema.state_dict()
        with self.ema.applied():
            scenes = sizes.scenes(parts.SHOWN, self.config.data.size, parts.SHOWN_SEED)
            images = [result.image for result in Pipeline(self.model).stream(scenes, seed=0)]
        ends = {**checkpoint.with_prefix("weights", self.weights()), **checkpoint.with_prefix("averages", averages)}
        return {"images": np.stack(images), **ends}


class DrawnLatents:
    """Latents of noise with generated masks, where no autoencoder of the size ships."""

    def __init__(self, size: Size, channels: int):
        self.size, self.channels = size, channels

    def __len__(self) -> int:
        return parts.LANDSCAPES

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        index, flip = key
        mask = resize_mask(landscape(index, Size(4 * self.size.height, 4 * self.size.width), seed=0)[1], self.size)
        return normal((self.channels, *self.size), "latent", index, flip), mask[:, :: -1 if flip else 1]


class FullDiffusion(Noted, DiffusionStage):
    """The released model's U-Net with random weights, none of them zero, so that every layer has a gradient."""

    def __init__(self, config: Config, folder: Path):
        dataset = DrawnLatents(config.latent_size, config.autoencoder.latent_channels)
        super().__init__(config, dataset, dataset, folder, LatentSpace(None), {}, lambda *_: None)
        jittor_side.load_random(self.network)
        self.ema = EMA(self.network, config.diffusion_training.ema_decay)

    def weights(self) -> Arrays:
        return {}

    def given(self) -> Arrays:
        return batches(self)

    def made(self) -> Arrays:
        moments = {name: value.numpy() for name, value in self.optimizer.moments["first_moment"].items()}
        averages = self.ema.state_dict()
        return {**checkpoint.with_prefix("gradients", moments), **checkpoint.with_prefix("averages", averages)}


class Autoencoder(Noted, AutoencoderStage):
    """The autoencoder on crops of generated landscapes. Its codes are seeded before the first step.

    It notes the latents of every step, and the numbers of the codes that they were quantised to.
    """

    def __init__(self, config: Config, folder: Path):
        super().__init__(config, landscapes(folder, config), {})
        self.latents, self.codes = [], []
        choose = self.network.quantize.indices

        def choose_and_note(z: jt.Var) -> jt.Var:
            indices = choose(z)
            self.chosen = z.detach(), indices
            return indices

        self.network.quantize.indices = choose_and_note

    def begin(self, step: int) -> None:
        super().begin(step)
        self._seed_codebook()  # as the first step will do again
        self.note_start()

    def evaluate(self, step: int, stop_if_asked: Callable[[], None]) -> dict[str, float]:
        latents, codes = self.chosen
        self.latents.append(latents.numpy())
        self.codes.append(codes.numpy())
        return super().evaluate(step, stop_if_asked)

    def weights(self) -> Arrays:
        modules = {"autoencoder": self.network, "discriminator": self.discriminator}
        return {
            f"{name}.{key}": values
            for name, module in modules.items()
            for key, values in checkpoint.state_dict(module).items()
        }

    def given(self) -> Arrays:
        crops = np.stack([np.stack(self.load_batch(step)) for step in range(self.max_steps)])
        return {"crops": crops, "codes": np.stack(self.codes), **checkpoint.with_prefix("start", self.start)}

    def made(self) -> Arrays:
        photos = [scene.reference for scene in sizes.scenes(parts.SHOWN, self.config.data.size, parts.SHOWN_SEED)]
        with jt.no_grad():
            copies = to_images(self.network.decode(self.network.encode(to_model(photos))))
        noted = {"images": copies, "latents": np.stack(self.latents)}
        return {**noted, **checkpoint.with_prefix("weights", self.weights())}


STAGES = {"unet": Diffusion, "autoencoder": Autoencoder, "full": FullDiffusion}


def landscapes(folder: Path, config: Config) -> list[Pair]:
    write_dataset(folder / "data", parts.LANDSCAPES, config.data.size, seed=config.seed, progress=False)
    return find_pairs(folder / "data")


def batches(stage: DiffusionStage) -> Arrays:
    """The examples of all steps, each [steps,micro-batches,samples,...]; masks as class ids, 255 where dropped."""
    steps = [stage.load_batch(step) for step in range(stage.max_steps)]

    def column(of: Callable[[Example], object]) -> np.ndarray:
        return np.array([[[of(example) for example in batch] for batch in step] for step in steps])

    return {
        "z0": column(lambda example: example.z0),
        "eps": column(lambda example: example.eps),
        "timesteps_trained": column(lambda example: example.timestep),
        "masks": column(lambda example: np.where(example.segmap.any(0), example.segmap.argmax(0), parts.DROPPED)),
    }
