"""The references' own masks: those given, else those of their data folders, else what a segmenter sees."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from jiidm.data.images import load_mask, resize_mask
from jiidm.data.references import own_mask
from jiidm.errors import InputError
from jiidm.size import Size


class PredictsMasks(Protocol):
    """What sees masks in photos: `jiidm.evaluate.segmenter.Segmenter`."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Images [N,H,W,3] uint8 RGB -> class ids [N,H,W] uint8."""


class ReferenceMasks:
    """Finds the mask of each reference, and loads the segmenter at the first reference that has none."""

    def __init__(self, load_segmenter: Callable[[], PredictsMasks] | None):
        """load_segmenter: None where every reference has a mask."""
        self.load_segmenter = functools.cache(load_segmenter or _no_segmenter)

    def of(self, reference: Path | np.ndarray, given: np.ndarray | None, photo: np.ndarray) -> np.ndarray:
        """The mask of a reference, uint8 [H,W], at the size of `photo`, which is the reference as uint8 RGB [H,W,3].

        given: uint8 [h,w]. Without it labels/<stem>.png beside the imgs/ that the reference is in has the mask, or else
        the segmenter predicts it. Raises InputError for a file that is no mask, and where there is no segmenter.
        """
        size = Size(*photo.shape[:2])
        if given is not None:
            return resize_mask(given, size)
        path = None if isinstance(reference, np.ndarray) else own_mask(reference)
        return self.load_segmenter().predict(photo[None])[0] if path is None else load_mask(path, size)


def _no_segmenter() -> PredictsMasks:
    raise InputError("a reference has no mask in labels/ beside its imgs/, and there is no segmenter to predict it")
