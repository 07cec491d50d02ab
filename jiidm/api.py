"""IIDM in three lines of Python: a facade over the model file, the device and `jiidm.pipeline`."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from jiidm.config.load import with_rounds
from jiidm.config.schema import Config, Round
from jiidm.data.images import (
    DECODE_ERRORS,
    check_labels,
    load_image,
    load_mask,
    mask_array,
    photo_array,
    resize_image,
    warn_of_palettes,
)
from jiidm.data.references import own_mask
from jiidm.errors import InputError
from jiidm.size import Size
from jiidm.system import runtime

if TYPE_CHECKING:
    from jiidm.inference.infer import Generates
    from jiidm.model.files import ModelFile

ImageLike: TypeAlias = str | os.PathLike | Image.Image | np.ndarray


class IIDMPipeline:
    """Generates an image from a mask, in the style of a reference photo.

    pipe = IIDMPipeline.from_pretrained()
    image = pipe("mask.png", "photo.jpg", seed=1)
    """

    def __init__(self, pipeline: Generates, device: str):
        """device: "cpu" or "cuda", for which Jittor was prepared. Use `from_pretrained` instead as a rule."""
        self._pipeline = pipeline
        self.device = device

    @property
    def config(self) -> Config:
        """The config that the model was saved with."""
        return self._pipeline.config

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike | None = None, device: str = "auto") -> IIDMPipeline:
        """Load IIDM or a GAN: a file, the folder of a finished training run, or, without a path, the model that ships.

        device: "cpu", "cuda", or "auto" for CUDA where it works. It is chosen before Jittor is loaded. So a process
        that has loaded Jittor without CUDA cannot use CUDA. Raises InputError for a path or device that is not there,
        and CheckpointError for a file that holds no model.
        """
        if path is not None and not Path(path).exists():
            raise InputError(f"{path}: no such file or folder")
        chosen = runtime.prepare(device)
        runtime.use_device(chosen.device)
        from jiidm.model.files import MODEL_FILE, SHIPPED, ModelFile

        source = SHIPPED if path is None else Path(path)
        if source.is_dir():
            source /= MODEL_FILE
        if not source.is_file():
            raise InputError(f"{source}: no such file; a training run writes it when it has finished")
        return cls(_load_pipeline(ModelFile(source)), chosen.device)

    def __call__(
        self,
        mask: ImageLike,
        reference: ImageLike,
        seed: int = 0,
        rounds: Sequence[Round | Mapping[str, Any]] | None = None,
        reference_mask: ImageLike | None = None,
        name: str | None = None,
    ) -> np.ndarray:
        """The image, uint8 RGB [h,w,3] of the mask's size.

        mask: a PNG's path, a PIL image of mode L or P, or uint8 [h,w]; class ids 0-28. reference: a photo's path, a PIL
        image or uint8 RGB [h,w,3], of any size. rounds: take the place of the model's own; each is a Round or a mapping
        as in YAML. A GAN has none and refuses them.
        reference_mask: the reference's own mask, given as `mask` is. SEAN takes each class's style under it, and rounds
        with `color_transfer: region` each class's colours; without it labels/ beside the photo's imgs/ has the mask, or
        else a segmenter predicts it. Others only check it.
        name: the noise belongs to it and the seed. Without it the stem of the mask's path counts, or "". So
        `pipe(mask_path, photo_path, seed=s)` gives what `jiidm infer --seed s` gives before JPEG.
        Raises InputError, before anything is computed, that names the argument and its value.
        """
        mask_pixels = _read_mask(mask, "mask")
        photo = _read_photo(reference, "reference")
        if rounds is not None and self.config.is_gan:
            raise InputError(f"rounds: {self.config.name} is a {self.config.method}, which has no rounds")
        config = self.config if rounds is None else with_rounds(self.config, rounds, "rounds")
        reference_labels = _reference_mask(reference, reference_mask, config)
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise InputError(f"seed: {seed!r}, expected an integer")
        if name is not None and not isinstance(name, str):
            raise InputError(f"name: {name!r}, expected text")
        if name is None:
            name = Path(mask).stem if isinstance(mask, (str, os.PathLike)) else ""

        from jiidm.experiments.released import hooks_for
        from jiidm.pipeline import Input

        runtime.use_device(self.device)
        options = {} if config.is_gan else {"rounds": config.inference.rounds, "hooks": hooks_for(config)}
        [result] = self._pipeline.stream([Input(name, mask_pixels, photo, reference_labels)], seed=int(seed), **options)
        return resize_image(result.image, Size(*mask_pixels.shape))


def _load_pipeline(file: ModelFile) -> Generates:
    """The pipeline of the method that a model file was made by."""
    if "config" in file.metadata and file.config.is_gan:
        from jiidm.baselines.model import load_gan
        from jiidm.baselines.pipeline import GANPipeline

        return GANPipeline(load_gan(file))
    from jiidm.evaluate import segmenter
    from jiidm.pipeline import Pipeline

    return Pipeline(file.load(), segmenter.load)


def _reference_mask(reference: ImageLike, given: ImageLike | None, config: Config) -> np.ndarray | None:
    """The reference's own mask, uint8 [h,w]: the given one; else, where masks matter, that of the data folder."""
    if given is not None:
        return _read_mask(given, "reference_mask")
    if config.uses_reference_masks and isinstance(reference, (str, os.PathLike)):
        path = own_mask(Path(reference).resolve())
        return None if path is None else load_mask(path)
    return None


def _read_mask(value: ImageLike, argument: str) -> np.ndarray:
    """Class ids, uint8 [h,w]."""
    if isinstance(value, (str, os.PathLike)):
        warn_of_palettes([value])
        return load_mask(value)
    if isinstance(value, Image.Image):
        return _decoded(mask_array, value, argument)
    return check_labels(_checked(value, argument, "uint8 [h,w] of class ids 0-28", lambda s: len(s) == 2), argument)


def _read_photo(value: ImageLike, argument: str) -> np.ndarray:
    """uint8 RGB [h,w,3]."""
    if isinstance(value, (str, os.PathLike)):
        return load_image(value)
    if isinstance(value, Image.Image):
        return _decoded(photo_array, value, argument)
    return _checked(value, argument, "uint8 RGB [h,w,3]", lambda s: len(s) == 3 and s[2] == 3)


def _decoded(decode: Callable[[Image.Image, str], np.ndarray], image: Image.Image, argument: str) -> np.ndarray:
    try:
        return decode(image, argument)
    except InputError:
        raise
    except DECODE_ERRORS as error:  # a file that Pillow has opened and not yet read
        raise InputError(f"{argument}: cannot be read ({' '.join(str(error).split())})") from error


def _checked(value: Any, argument: str, expected: str, fits: Callable[[tuple[int, ...]], bool]) -> np.ndarray:
    """The array, if it is what `expected` says."""
    if not isinstance(value, np.ndarray):
        raise InputError(f"{argument}: {reprlib.repr(value)}, expected a path, a PIL image or {expected}")
    if value.dtype != np.uint8 or not fits(value.shape) or not value.size:
        raise InputError(f"{argument}: {value.dtype} {list(value.shape)}, expected {expected}")
    return np.ascontiguousarray(value)
