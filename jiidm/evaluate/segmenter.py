"""The segmenter behind the mask accuracy M: SegFormer's weight files, and its predictions for images."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import jittor as jt
import numpy as np
from PIL import Image

from jiidm.classes import NUM_CLASSES
from jiidm.data.images import resize_image
from jiidm.evaluate.mapping import ADE20K_CLASSES, ClassMapping, ade20k, read_mapping
from jiidm.evaluate.segformer import HEADS, PRESETS, Architecture, SegFormer
from jiidm.model.files import sha256
from jiidm.size import Size
from ldm_jittor import checkpoint
from ldm_jittor.errors import CheckpointError
from ldm_jittor.files import read_json
from ldm_jittor.formats.wrappers import unwrapped

SHIPPED = Path(__file__).parent.parent / "assets" / "segmenter.safetensors"
AREA_OR_CUBIC = "area where both sides shrink, else cubic"
PREPROCESSING: dict[str, Any] = {
    "resize": None,
    "interpolation": AREA_OR_CUBIC,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
"""Mean and standard deviation are ImageNet's, for RGB in 0-1, as in all released SegFormers.

`resize` is [width, height] before the network, or None. `interpolation` is `images.resize_image`'s, or the name of one
of Pillow's.
"""
PIXELS_AT_ONCE = 2**20
"""Images go through the network in groups of about this many pixels, which bounds the memory."""

_FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
"""The weights in a folder of Hugging Face's."""

State = dict[str, np.ndarray]


class Segmenter:
    """A SegFormer with everything that is needed to repeat its predictions.

    name: variant and file; sha256: the file's; preprocessing: what differs from PREPROCESSING, as JSON can hold it;
    mapping: the challenge's class for each of the network's, None where they are the same.
    """

    def __init__(
        self,
        network: SegFormer,
        preprocessing: Mapping[str, Any],
        name: str = "",
        sha256: str = "",
        mapping: ClassMapping | None = None,
    ):
        self.network, self.preprocessing = network, {**PREPROCESSING, **preprocessing}
        self.name, self.sha256, self.mapping = name, sha256, mapping

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Images [N,H,W,3] uint8 RGB -> class ids [N,H,W] uint8.

        The logits are upsampled bilinearly to the images' own size, as in the original. Then the largest is taken. Only
        then the network's class becomes one of the challenge's, where there is a mapping.
        """
        return self.label(images)[0]

    def label(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`predict`, and how sure the network is of each image: float64 [N] in (0,1].

        That is the mean over the places of its logits of the largest class probability.
        """
        size = Size(*images.shape[1:3])
        masks, confidences = [], []
        for x in self._batches(images):
            for logits in self.network(x).numpy():
                mask = _largest(logits, size)
                masks.append(self.mapping.table[mask] if self.mapping else mask)
                confidences.append(_confidence(logits))
        return np.stack(masks), np.array(confidences)

    def features(self, images: np.ndarray) -> np.ndarray:
        """Images [N,H,W,3] uint8 RGB -> [N,D] float32: the mean over space of the last encoder stage's output."""
        return np.concatenate([self.network.encode(x)[-1].mean(dims=[1, 2]).numpy() for x in self._batches(images)])

    def _batches(self, images: np.ndarray) -> Iterator[jt.Var]:
        """Network inputs [n,3,h,w]. The caller's block runs without gradients and with BatchNorm's averages."""
        resize = self.preprocessing["resize"]
        size = Size(*(resize[::-1] if resize else images.shape[1:3]))
        count = max(1, PIXELS_AT_ONCE // (size.height * size.width))
        with jt.no_grad(), self.network.inference():
            for start in range(0, len(images), count):
                resized = [self._resize(image, size) for image in images[start : start + count]]
                yield normalized(resized, self.preprocessing)

    def _resize(self, image: np.ndarray, size: Size) -> np.ndarray:
        if self.preprocessing["interpolation"] == AREA_OR_CUBIC:
            return resize_image(image, size)
        method = Image.Resampling[self.preprocessing["interpolation"]]
        return np.asarray(Image.fromarray(image).resize(size[::-1], method))


def normalized(images: Sequence[np.ndarray], preprocessing: Mapping[str, Any]) -> jt.Var:
    """uint8 RGB images [H,W,3] of one size -> the network's input [N,3,H,W]."""
    x = (np.stack(images) / np.float32(255) - np.float32(preprocessing["mean"])) / np.float32(preprocessing["std"])
    return jt.array(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def _confidence(logits: np.ndarray) -> float:
    """The mean over [h,w] of the largest of the softmax over [C,h,w]."""
    return float(np.mean(1 / np.exp(logits.astype(np.float64) - logits.max(axis=0)).sum(axis=0)))


def _largest(logits: np.ndarray, size: Size) -> np.ndarray:
    """The number of the plane of [C,h,w] that is largest at each pixel, once upsampled to `size`."""
    best = cv2.resize(logits[0], size[::-1], interpolation=cv2.INTER_LINEAR)
    classes = np.zeros(best.shape, np.min_scalar_type(len(logits) - 1))
    for index, plane in enumerate(logits[1:], start=1):
        plane = cv2.resize(plane, size[::-1], interpolation=cv2.INTER_LINEAR)
        classes[plane > best] = index
        np.maximum(best, plane, out=best)
    return classes


def load(path: str | os.PathLike = SHIPPED, mapping: Path | None = None) -> Segmenter:
    """Read a segmenter: ours, Hugging Face's (safetensors, .bin, or their folder) or NVlabs' .pth.

    The shapes tell the variant. Hugging Face's config.json and preprocessor_config.json count where they lie beside the
    file. Without them the number of heads is the released one, and images aren't resized. A network of 29 classes has
    the challenge's, one of 150 has ADE20K's, unless the file `mapping` says otherwise, see `mapping.read_mapping`.
    Raises CheckpointError for weights of another network or another number of classes without `mapping`, and names the
    fault.
    """
    path = Path(path)
    if path.is_dir():
        path = next((path / name for name in _FOLDER_FILES if (path / name).is_file()), path / _FOLDER_FILES[0])
    stored = checkpoint.load(path)
    arrays = to_hugging_face(_unwrapped(stored.arrays, path))
    architecture = architecture_of(arrays, str(path))
    classes = _class_mapping(path, architecture.num_classes, mapping)
    preprocessing = stored.metadata.get("preprocessing")
    if preprocessing is None:
        architecture = architecture._replace(heads=_read_heads(path.with_name("config.json"), architecture.widths))
        preprocessing = _read_preprocessing(path.with_name("preprocessor_config.json"))
    network = SegFormer(architecture)
    checkpoint.load_into(network, arrays, str(path))
    name = f"SegFormer {variant_of(architecture)} ({path.name})"
    return Segmenter(network, preprocessing, name, sha256(path), classes)


def _class_mapping(path: Path, num_classes: int, mapping: Path | None) -> ClassMapping | None:
    if mapping is not None:
        return read_mapping(mapping, num_classes)
    if num_classes in (NUM_CLASSES, ADE20K_CLASSES):
        return None if num_classes == NUM_CLASSES else ade20k()
    told = f"the challenge has {NUM_CLASSES} and ADE20K {ADE20K_CLASSES}; --segmenter-mapping maps others"
    raise CheckpointError(f"{path}: segments {num_classes} classes, {told}")


def _unwrapped(arrays: Mapping[str, np.ndarray], path: Path) -> Mapping[str, np.ndarray]:
    """Freed from what training scripts put around them; the classifier is Hugging Face's or NVlabs'."""
    try:
        for mark in ("decode_head.classifier.weight", "decode_head.linear_pred.weight"):
            arrays = unwrapped(arrays, mark)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return arrays


def variant_of(architecture: Architecture) -> str:
    """The preset's name, or the widths of one that has none."""
    for name, preset in PRESETS.items():
        if preset == architecture[:3]:
            return name
    return "-".join(map(str, architecture.widths))


def architecture_of(arrays: Mapping[str, np.ndarray], source: str) -> Architecture:
    """Read widths, depths and numbers of classes off the shapes of a state in Hugging Face's names.

    Raises CheckpointError where tensors that tell them are absent, since the file then belongs to another network.
    """
    names = [f"segformer.encoder.patch_embeddings.{stage}.proj.weight" for stage in range(4)]
    names += ["decode_head.linear_fuse.weight", "decode_head.classifier.weight"]
    absent = [name for name in names if name not in arrays or np.ndim(arrays[name]) != 4]
    if absent:
        found = f"it has {len(arrays)} tensors, such as {min(arrays)}" if arrays else "it is empty"
        raise CheckpointError(f"{source}: weights of the wrong network, not a SegFormer: no {absent[0]}; {found}")
    *widths, decoder_width, num_classes = (len(arrays[name]) for name in names)
    blocks = [re.match(r"segformer\.encoder\.block\.(\d+)\.(\d+)\.", name) for name in arrays]
    depths = [len({match[2] for match in blocks if match and match[1] == str(stage)}) for stage in range(4)]
    return Architecture(tuple(widths), tuple(depths), decoder_width, num_classes)


_NVLABS = (  # patterns applied one after the other to a name of NVlabs' mmseg model
    (r"^backbone\.", "segformer.encoder."),
    (r"\.patch_embed(\d)\.norm\.", r".patch_embed\1.layer_norm."),
    (r"\.patch_embed(\d)\.", lambda match: f".patch_embeddings.{int(match[1]) - 1}."),
    (r"\.block(\d)\.", lambda match: f".block.{int(match[1]) - 1}."),
    (r"^(segformer\.encoder)\.norm(\d)\.", lambda match: f"{match[1]}.layer_norm.{int(match[2]) - 1}."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.norm\.", ".attention.self.layer_norm."),
    (r"\.attn\.q\.", ".attention.self.query."),
    (r"\.attn\.", ".attention.self."),
    (r"\.norm([12])\.", r".layer_norm_\1."),
    (r"\.fc([12])\.", r".dense\1."),
    (r"\.linear_c(\d)\.", lambda match: f".linear_c.{int(match[1]) - 1}."),
    (r"\.linear_fuse\.conv\.", ".linear_fuse."),
    (r"\.linear_fuse\.bn\.", ".batch_norm."),
    (r"\.linear_pred\.", ".classifier."),
)
_UNUSED = re.compile(r"num_batches_tracked$|^decode_head\.conv_seg\.")
"""BatchNorm's counter, and a layer that every head of mmseg has and SegFormer's never calls."""


def to_hugging_face(state: Mapping[str, np.ndarray]) -> State:
    """Rename a state from NVlabs' names to Hugging Face's, or keep the latter, and drop what the network does not use.

    NVlabs keeps keys and values in one matrix, keys first.
    """
    renamed: State = {}
    for name, array in state.items():
        if _UNUSED.search(name):
            continue
        if name.startswith("backbone.") or name.startswith("decode_head."):
            for pattern, replacement in _NVLABS:
                name = re.sub(pattern, replacement, name)
        if ".attention.self.kv." in name:
            half = len(array) // 2
            renamed[name.replace(".kv.", ".key.")] = array[:half]
            renamed[name.replace(".kv.", ".value.")] = array[half:]
        else:
            renamed[name] = array
    return renamed


def _read_heads(path: Path, widths: Sequence[int]) -> tuple[int, ...]:
    """The number of attention heads per stage: no shape tells it, so config.json does, else it is the released one."""
    heads = _read_json(path).get("num_attention_heads", HEADS)
    whole = isinstance(heads, Sequence) and all(isinstance(count, int) and count > 0 for count in heads)
    if not whole or len(heads) != len(widths) or any(width % count for width, count in zip(widths, heads)):
        raise CheckpointError(f"{path}: num_attention_heads is {heads}, which do not divide the widths {list(widths)}")
    return tuple(heads)


def _read_preprocessing(path: Path) -> dict[str, Any]:
    """What a preprocessor_config.json says in place of PREPROCESSING."""
    processor = _read_json(path)
    if not processor.get("do_normalize", True):
        processor |= {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    size = processor.get("size") if processor.get("do_resize", True) else None
    if isinstance(size, int):
        size = {"width": size, "height": size}
    try:
        found: dict[str, Any] = {
            key: list(map(float, processor.get(f"image_{key}", PREPROCESSING[key]))) for key in ("mean", "std")
        }
        if size:
            found["resize"] = [int(size["width"]), int(size["height"])]
            found["interpolation"] = Image.Resampling(processor.get("resample", Image.Resampling.BILINEAR)).name
    except (KeyError, TypeError, ValueError):
        message = "size, resample, image_mean or image_std is not as Hugging Face writes it for SegFormer"
        raise CheckpointError(f"{path}: {message}") from None
    return found


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file, empty where there is no file."""
    try:
        found = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from None
    return found if isinstance(found, dict) else {}
