"""Image and mask files to arrays and back. Every fault of a file is an InputError that names it."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image

from jiidm.classes import CLASS_NAMES, NUM_CLASSES, PALETTE
from jiidm.data.profiles import to_srgb
from jiidm.errors import InputError, warn_once
from jiidm.size import Size
from ldm_jittor.files import atomic_path, write_through_memory

MAX_PIXELS = 2**26
"""Largest accepted image (8192 x 8192). The file's header tells the size before anything is decompressed."""

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
_RGB_CONVERTIBLE = {"RGB", "RGBA", "RGBX", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr"}
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, LookupError, struct.error, zlib.error)
_JPEG_PIXELS_PER_BYTE = 1024
"""More than any JPEG holds: one colour takes a bit for 8 x 8 pixels. libjpeg silently paints missing pixels gray."""
_JPEG_START, _EXIF_START, _MPF_START = b"\xff\xd8", b"Exif\0\0", b"MPF\0"
_ON_THE_SIDE = (5, 6, 7, 8)
_UPRIGHT = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextlib.contextmanager
def open_image(path: str | os.PathLike, formats: tuple[str, ...] = IMAGE_FORMATS) -> Iterator[Image.Image]:
    """Open a file of one of `formats` with its header read and its pixels not yet decoded.

    Decoding inside the block reports faults as opening does. A missing, empty, foreign, truncated or damaged file and
    one above MAX_PIXELS raise InputError with the path and the fault.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
        length = path.stat().st_size
        if length == 0:
            raise InputError(f"{path}: empty file (0 bytes)")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata and on sizes judged below
            with _open(path, formats) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise InputError(f"{path}: {width}x{height} pixels, the limit is {MAX_PIXELS} in all")
                if image.format in ("JPEG", "MPO") and width * height > length * _JPEG_PIXELS_PER_BYTE:
                    raise InputError(
                        f"{path}: {length} bytes cannot hold {width}x{height} pixels: cut short or damaged"
                    )
                yield image
    except InputError:
        raise
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{path}: not a readable {' or '.join(formats)} image") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}") from error
    except DECODE_ERRORS as error:
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
        raise InputError(f"{path}: cannot be read ({reason})") from error


def _open(path: Path, formats: tuple[str, ...]) -> Image.Image:
    """Image.open, also for a JPEG whose metadata Pillow cannot read, since the photo may be good all the same."""
    try:
        return Image.open(path, formats=formats)
    except MemoryError:
        raise
    except Exception:  # Pillow stumbles in many ways
        content = path.read_bytes()
        hidden = content.replace(_EXIF_START, b"none\0\0").replace(_MPF_START, b"none")
        if not content.startswith(_JPEG_START) or hidden == content:
            raise
        image = Image.open(io.BytesIO(hidden), formats=formats)
        if _EXIF_START in content:
            image.info["exif"] = content[content.index(_EXIF_START) :][: 1 << 16]
        return image


def orientation(image: Image.Image) -> int:
    """EXIF's orientation of an opened file, 1 (upright) to 8. It is 1, too, where the metadata cannot be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return value if value in _UPRIGHT else 1


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says."""
    turn = _UPRIGHT.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def load_image(path: str | os.PathLike, size: Size | None = None) -> np.ndarray:
    """Read a photo as uint8 RGB [H,W,3], upright by its EXIF orientation, its colours in sRGB.

    Gray, palette, CMYK and RGBA are converted, by the file's ICC profile if it has one. Alpha is dropped. With `size`
    the photo is stretched to it as by `resize_image`. Raises InputError for a file that does not decode fully or whose
    samples have 16 bits.
    """
    with open_image(path) as image:
        array = photo_array(image, str(path))
    return array if size is None else resize_image(array, size)


def photo_array(image: Image.Image, source: str) -> np.ndarray:
    """What `load_image` makes of an opened file; `source` names it in the InputError for samples of 16 bits."""
    if image.mode not in _RGB_CONVERTIBLE:
        raise InputError(f"{source}: mode {image.mode} is not an 8-bit image")
    return np.array(to_srgb(upright(image), source))


def resize_image(array: np.ndarray, size: Size) -> np.ndarray:
    """Stretch uint8 RGB [H,W,3] to `size`: area averaging when neither side grows, else cubic."""
    height, width = array.shape[:2]
    if size == (height, width):
        return array
    shrinks = size.height <= height and size.width <= width
    return cv2.resize(array, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def load_mask(path: str | os.PathLike, size: Size | None = None) -> np.ndarray:
    """Read a label PNG as uint8 [H,W] of class ids 0-28, upright; `size` resizes by nearest neighbour.

    The file must be single-channel: mode L of 8 bits, or P, whose indices are the labels. Raises InputError for any
    other mode, for labels outside 0-28, which it lists, and for a file that does not decode fully.
    """
    with open_image(path, ("PNG",)) as image:
        mask = mask_array(image, str(path))
    return mask if size is None else resize_mask(mask, size)


def mask_array(image: Image.Image, source: str) -> np.ndarray:
    """What `load_mask` makes of an opened file; `source` names it in the InputErrors for its mode and labels."""
    if image.mode not in ("L", "P"):
        raise InputError(f"{source}: mode {image.mode}, a mask must be 8-bit single-channel (mode L or P)")
    if image.mode == "L" and (bits := _png_bit_depth(image)) != 8:
        # Pillow stretches 2- and 4-bit gray to 0-255, which would turn label 1 into 85 or 17.
        raise InputError(f"{source}: {bits}-bit gray, a mask must be 8-bit single-channel")
    return check_labels(np.array(upright(image)), source)


def check_labels(mask: np.ndarray, source: str) -> np.ndarray:
    """The same mask, uint8 [H,W]. Raises InputError, listing them, for labels outside 0-28."""
    bad = np.flatnonzero(np.bincount(mask.ravel(), minlength=NUM_CLASSES))
    bad = bad[bad >= NUM_CLASSES]
    if bad.size:
        shown = ", ".join(map(str, bad[:8])) + (f" and {bad.size - 8} more" if bad.size > 8 else "")
        raise InputError(f"{source}: label {shown} outside 0-{NUM_CLASSES - 1}")
    return mask


def resize_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """Resize a mask [H,W] to `size` by nearest neighbour.

    Output pixel i takes input pixel floor(i * input / output): the floor convention of torch's
    F.interpolate(mode="nearest"), in exact integer arithmetic (no half-pixel offset).
    """
    height, width = mask.shape
    rows = np.arange(size.height) * height // size.height
    columns = np.arange(size.width) * width // size.width
    return mask[rows[:, None], columns]


def read_size(path: str | os.PathLike, formats: tuple[str, ...] = IMAGE_FORMATS) -> Size:
    """The size by the header, once upright. Raises InputError like `open_image`."""
    with open_image(path, formats) as image:
        width, height = image.size
        return Size(width, height) if orientation(image) in _ON_THE_SIDE else Size(height, width)


def warn_of_palettes(masks: Iterable[str | os.PathLike]) -> None:
    """Log one warning for each folder of masks that show their classes in colours other than this kit's, or gray.

    Whoever painted them may count the classes in another order, which no id can tell. Only headers are read.
    `load_mask` deals with a file that cannot be opened.
    """
    foreign: dict[Path, list[Path]] = {}
    for path in map(Path, masks):
        if has_foreign_palette(path):
            foreign.setdefault(path.parent, []).append(path)
    for first, *more in foreign.values():
        others = f" (and {len(more)} more there)" if more else ""
        order = ", ".join(f"{index} {name}" for index, name in enumerate(CLASS_NAMES[:3]))
        warn_once(f"{first}{others}: its palette is not this kit's; its numbers are taken as they are: {order}, ...")


def has_foreign_palette(path: str | os.PathLike) -> bool:
    """Whether a PNG shows its numbers in colours other than this kit's, or gray; False for what cannot be opened."""
    with contextlib.suppress(InputError), open_image(path, ("PNG",)) as image:
        return _is_foreign(image)
    return False


def _is_foreign(image: Image.Image) -> bool:
    if image.mode != "P":
        return False
    colors = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)[:NUM_CLASSES]
    gray = (colors == colors[:, :1]).all()
    return not gray and not np.array_equal(colors, PALETTE[: len(colors)])


def read_jpeg_quality(path: str | os.PathLike) -> int:
    """The approximate quality, 1 to 100 on the scale of libjpeg and Pillow, that a JPEG was saved with.

    How coarsely its brightness is quantised tells it. Raises InputError like `open_image`.
    """
    with open_image(path, ("JPEG",)) as image:
        coarseness = _coarseness(image)
    return 1 + int(np.argmin(np.abs(np.array(_coarseness_by_quality()) - coarseness)))


def _coarseness(jpeg: Any) -> int:
    """How coarsely its brightness is quantised: the sum of that table of Pillow's JpegImageFile."""
    return sum(jpeg.quantization[0])


@functools.lru_cache(maxsize=1)
def _coarseness_by_quality() -> list[int]:
    """The coarseness of quality 1, 2, ... 100, asked of Pillow's encoder."""
    sums = []
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, format="JPEG", quality=quality)
        sums.append(_coarseness(Image.open(buffer)))
    return sums


def write_image(path: str | os.PathLike, image: Image.Image, **options: Any) -> None:
    """Write a Pillow image by `write_through_memory`. options: those of Pillow's `save`, `format` among them."""
    write_through_memory(path, lambda file: image.save(file, **options))


def save_jpeg(path: str | os.PathLike, array: np.ndarray, quality: int = 95) -> None:
    """Write uint8 RGB [H,W,3] as `encode_jpeg` does, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_jpeg(array, quality))


def encode_jpeg(array: np.ndarray, quality: int = 95) -> bytes:
    """uint8 RGB [H,W,3] as a JPEG file. Colour keeps full resolution (4:4:4)."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def save_png(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write uint8 RGB [H,W,3], or a mask [H,W], as PNG, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode_png(array))


def encode_png(array: np.ndarray) -> bytes:
    """uint8 RGB [H,W,3], or a mask [H,W], as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def as_written(array: np.ndarray, quality: int) -> np.ndarray:
    """uint8 RGB [H,W,3] as it comes back from the file that `save_jpeg` writes."""
    return np.array(Image.open(io.BytesIO(encode_jpeg(array, quality))))


def jpeg_round_trip(array: np.ndarray, quality: int) -> np.ndarray:
    """uint8 RGB [H,W,3] as it comes back from a JPEG of that quality, written as Pillow does by default (4:2:0)."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="JPEG", quality=quality)
    return np.array(Image.open(file))


def _png_bit_depth(image: Image.Image) -> int:
    """The bit depth of a PNG file whose pixels are not yet decoded; 8 for any other image of mode L."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return 8
    place = file.tell()
    file.seek(24)  # signature 8, chunk length and name 8, width and height 8
    depth = file.read(1)[0]
    file.seek(place)
    return depth
