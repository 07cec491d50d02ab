"""Algorithm 2: rounds of colour transfer, encoding, noising, denoising under the mask and decoding, all in memory."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jittor as jt
import numpy as np

from jiidm.classes import one_hot
from jiidm.color import color_transfer, region_transfer
from jiidm.config.schema import Round
from jiidm.data.images import load_image, load_mask, resize_image, resize_mask
from jiidm.data.reference_masks import PredictsMasks, ReferenceMasks
from jiidm.model.build import build_settings, count_passes
from jiidm.model.files import Model
from jiidm.model.footprint import fitting_batch
from jiidm.seeding import normal
from jiidm.size import Size
from jiidm.system.threads import follow_load
from ldm_jittor.denoiser import Denoiser, Settings
from ldm_jittor.pixels import to_images, to_model
from ldm_jittor.samplers import SAMPLERS


class Input(NamedTuple):
    """One image to generate. Files and arrays of any size are resized to the model's."""

    name: str
    """Noise belongs to (seed, name, round, step), so an image does not depend on its batch."""
    mask: Path | np.ndarray
    """uint8 [h,w] of class ids."""
    reference: Path | np.ndarray
    """uint8 RGB [h,w,3]."""
    reference_mask: np.ndarray | None = None
    """The reference's own mask, uint8 [h,w], where it matters: to SEAN, and to a round's colour transfer by region.

    None: the one in its data folder, or a prediction.
    """


class RoundImages(NamedTuple):
    """What a round began and ended with, uint8 RGB [H,W,3] each."""

    transfer: tuple[np.ndarray, np.ndarray] | None
    """Its input before and after colour transfer; None where it has none."""
    image: np.ndarray
    """Its result."""


class Result(NamedTuple):
    """One generated image, and what it was generated from; everything at `config.data.size`."""

    name: str
    image: np.ndarray
    """uint8 RGB [H,W,3]."""
    start: np.ndarray | None
    """The first round's noisy start, decoded: D(z_T), uint8 RGB [H,W,3]. None where it was not asked for."""
    mask: np.ndarray
    """uint8 [H,W] of class ids."""
    reference: np.ndarray
    """uint8 RGB [H,W,3]."""
    rounds: Sequence[RoundImages] | None = None
    """Every round's images. None where they were not asked for."""


class Hooks:
    """The places where another program's habits enter the rounds. These change nothing."""

    def between_rounds(self, x: jt.Var) -> jt.Var:
        """The input of the next round for the result x of the last one, [B,3,H,W] in [-1, 1]."""
        return x

    def recolored(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The images, uint8 RGB [H,W,3], that go on after colour transfer has made `images`."""
        return images

    def noised_at(self, number: int, timestep: int) -> int:
        """The timestep whose noise level the start of round `number`, counted from 0, gets."""
        return timestep


PLAIN = Hooks()


class Pipeline:
    """Generates images from masks, in the style of reference photos, at the model's own size."""

    def __init__(self, model: Model, load_segmenter: Callable[[], PredictsMasks] | None = None):
        """load_segmenter: for colour transfer by region, of references without a mask of their own."""
        self.model = model
        self.config = model.config
        self._reference_masks = ReferenceMasks(load_segmenter)

    def at(self, size: Size) -> Pipeline:
        """The same model at another size."""
        data = dataclasses.replace(self.config.data, size=size)
        model = self.model._replace(config=dataclasses.replace(self.config, data=data))
        return Pipeline(model, self._reference_masks.load_segmenter)

    @property
    def batch_size(self) -> int:
        """How many inputs go through the networks together."""
        return fitting_batch(self.config, self.model.unet)

    def num_passes(
        self,
        inputs: Sequence[Input],
        rounds: Sequence[Round] | None = None,
        wanted: Container[str] | None = None,
    ) -> int:
        """Network passes of all batches: the sum of what `stream` will call `on_step` with for the same arguments."""
        rounds = self.config.inference.rounds if rounds is None else rounds
        of_a_batch = sum(count_passes(round_, self.model.schedule) for round_ in rounds)
        return len(batches(inputs, self.batch_size, wanted)) * of_a_batch

    def stream(
        self,
        inputs: Sequence[Input],
        *,
        seed: int,
        rounds: Sequence[Round] | None = None,
        wanted: Container[str] | None = None,
        show_starts: Container[str] = (),
        show_rounds: bool = False,
        from_noise: bool = False,
        hooks: Hooks = PLAIN,
        on_step: Callable[[int], object] | None = None,
    ) -> Iterator[Result]:
        """The results of `inputs`, in order; with `wanted` only those named there.

        Batches are cut from all inputs and generated whole, so a result is the same to the byte whichever are wanted.
        rounds: take the place of the config's. show_starts: names whose result has its `start`. show_rounds: every
        result has its `rounds`. from_noise: the first round starts from noise alone, as the plain diffusion model that
        the paper compares with; references then decide colour transfers only. on_step is called after every denoising
        step of a batch, with the number of network passes that it took.
        Raises InputError for a file that is no mask or photo.
        """
        rounds = self.config.inference.rounds if rounds is None else rounds
        for batch in batches(inputs, self.batch_size, wanted):
            follow_load()
            masks, references = read_inputs(batch, self.config.data.size)
            names = [input_.name for input_ in batch]
            chosen = [i for i, name in enumerate(names) if wanted is None or name in wanted]
            shown = any(names[i] in show_starts for i in chosen)
            noise = functools.partial(noise_of, seed, names)
            made: list[list[RoundImages]] | None = [] if show_rounds else None
            recolor = functools.partial(self._recolor, references, masks, self._regions(batch, references, rounds))
            images, starts = self._generate(
                masks, references, noise, rounds, recolor, shown, made, from_noise, hooks, on_step
            )
            for i in chosen:
                start = starts[i] if starts is not None and names[i] in show_starts else None
                own = None if made is None else [each[i] for each in made]
                yield Result(names[i], images[i], start, masks[i], references[i], own)

    def _generate(
        self,
        masks: Sequence[np.ndarray],
        references: Sequence[np.ndarray],
        noise: Callable[[tuple[int, ...], int, int | str], jt.Var],
        rounds: Sequence[Round],
        recolor: Callable[[np.ndarray, Round], list[np.ndarray]],
        with_starts: bool,
        made: list[list[RoundImages]] | None,
        from_noise: bool,
        hooks: Hooks,
        on_step: Callable[[int], object] | None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Algorithm 2 on one batch; images and, if asked for, decoded starts, uint8 RGB [B,H,W,3].

        made: gets each round's images, a list of the batch.
        """
        space, unet, schedule = self.model.space, self.model.unet, self.model.schedule
        latent_size = self.config.latent_size

        def callback(settings: Settings, _: int, timestep: int, __: jt.Var) -> None:
            follow_load()
            if on_step is not None:
                on_step(settings.branches(timestep))

        segmap = jt.array(np.stack([one_hot(resize_mask(mask, latent_size)) for mask in masks]))
        x, starts = to_model(references), None
        with jt.no_grad():
            # everything that depends on the masks only is computed here, once for all rounds
            denoiser = Denoiser(unet, schedule, segmap, latent_size)
            for number, round_ in enumerate(rounds):
                if number > 0:
                    x = hooks.between_rounds(x)
                transfers: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(masks)
                if round_.color_transfer:
                    before = to_images(x)
                    after = hooks.recolored(recolor(before, round_))
                    x, transfers = to_model(after), list(zip(before, after))
                z0 = space.encode(x)
                eps = noise(z0.shape, number, "start")
                timesteps = schedule.timesteps(round_.start_timestep, round_.num_steps, round_.spacing)
                z = schedule.add_noise(z0, eps, hooks.noised_at(number, timesteps[0]))
                if number == 0 and from_noise:
                    z = eps
                if number == 0 and with_starts:
                    starts = to_images(space.decode(z))
                settings = build_settings(round_)
                z = SAMPLERS[round_.sampler](
                    denoiser.with_settings(**settings._asdict()),
                    z,
                    timesteps,
                    noise=functools.partial(noise, z.shape, number),
                    callback=functools.partial(callback, settings),
                )
                x = space.decode(z)
                x.sync()
                if made is not None:
                    made.append(list(map(RoundImages, transfers, to_images(x))))
        return to_images(x), starts

    def _regions(
        self, batch: Sequence[Input], references: Sequence[np.ndarray], rounds: Sequence[Round]
    ) -> list[np.ndarray] | None:
        """The references' own masks, [H,W] each, if a round transfers colours by region."""
        if all(round_.color_transfer != "region" for round_ in rounds):
            return None
        masks = self._reference_masks
        return [masks.of(i.reference, i.reference_mask, photo) for i, photo in zip(batch, references)]

    def _recolor(
        self,
        references: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        reference_masks: Sequence[np.ndarray] | None,
        images: np.ndarray,
        round_: Round,
    ) -> list[np.ndarray]:
        """The images in their references' colours, all uint8 RGB [H,W,3]; by region under the masks [H,W]."""
        space = self.config.inference.color_space
        if round_.color_transfer == "region" and reference_masks is not None:
            groups = zip(images, references, masks, reference_masks)
            return [region_transfer(*group, space) for group in groups]
        return [color_transfer(*pair, space) for pair in zip(images, references)]


def batches(inputs: Sequence[Input], size: int, wanted: Container[str] | None) -> list[Sequence[Input]]:
    """All inputs in batches of `size`; those batches that hold a wanted one."""
    cut = [inputs[i : i + size] for i in range(0, len(inputs), size)]
    return [batch for batch in cut if wanted is None or any(input_.name in wanted for input_ in batch)]


def read_inputs(batch: Sequence[Input], size: Size) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Masks uint8 [H,W] and references uint8 RGB [H,W,3] at `size`."""
    masks = [_resized(load_mask, resize_mask, input_.mask, size) for input_ in batch]
    return masks, [_resized(load_image, resize_image, input_.reference, size) for input_ in batch]


def _resized(load: Callable, resize: Callable, source: Path | np.ndarray, size: Size) -> np.ndarray:
    return resize(source, size) if isinstance(source, np.ndarray) else load(source, size)


def noise_of(seed: int, names: Sequence[str], shape: Sequence[int], number: int, step: int | str) -> jt.Var:
    """Standard normal [B,...]: each sample's own draw for a step of a round."""
    return jt.array(np.stack([normal(tuple(shape[1:]), seed, name, number, step) for name in names]))
