"""The drawing board of the synthetic landscapes: noise, coordinates, and painting picture and mask together.

Positions are shares of the picture: u runs right, v runs down, both in [0, 1]. Shapes are meant for a 4:3 frame.
Colours are float32 RGB [...,3].
"""

from __future__ import annotations

import cv2
import numpy as np

from jiidm.classes import CLASS_NAMES
from jiidm.data.synthetic.style import Style
from jiidm.size import Size

_LABEL_IDS = {name: index for index, name in enumerate(CLASS_NAMES)}
ASPECT = 0.75  # a length in v, times this, is the same length in u
_TILE = 512  # side of the noise tile laid out on the ground plane
_SUBPIXEL_BITS = 4


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, a smooth rise between."""
    t = np.clip((x - low) * (1.0 / (high - low)), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(a: np.ndarray, b: np.ndarray, amount: np.ndarray | float) -> np.ndarray:
    """Colour `a` where `amount` is 0, `b` where it is 1. Each colour is [3] or [h,w,3], the amount [h,w]."""
    amount = np.asarray(amount, np.float32)
    if amount.ndim < 2:
        return a + (b - a) * amount[..., None]
    shape = np.broadcast_shapes(amount.shape, *(color.shape[:2] for color in (a, b) if color.ndim == 3))
    if 0 in shape:
        return np.zeros((*shape, 3), np.float32)
    # OpenCV blends six times as fast as numpy, which is slow along an axis of three.
    amount = np.ascontiguousarray(np.broadcast_to(amount, shape))
    return cv2.blendLinear(_spread(b, shape), _spread(a, shape), amount, 1.0 - amount)


def _spread(color: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A colour as an image of this shape, float32 [h,w,3]."""
    if color.ndim == 1:
        return cv2.merge([np.full(shape, channel, np.float32) for channel in color.tolist()])
    return np.ascontiguousarray(np.broadcast_to(color, (*shape, 3)), np.float32)


def ramp(brightness: np.ndarray, color: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
    """`brightness` [h,w] times a colour [3], plus `offset` [3]: [h,w,3]."""
    offset = np.zeros(3) if offset is None else offset
    planes = [brightness * scale + base for scale, base in zip(color.tolist(), offset.tolist())]
    return cv2.merge(planes) if brightness.ndim == 2 and brightness.size else np.stack(planes, -1)


def value_noise(
    rng: np.random.Generator,
    size: Size,
    cells: tuple[int, int],
    octaves: int = 4,
    gain: float = 0.5,
) -> np.ndarray:
    """Fractal value noise, float32 [H,W], about [-1, 1]: `cells` (across, down) in the coarsest octave.

    The random grids don't depend on `size`, so another size shows the same noise.
    """
    across, down = cells
    total, power = np.zeros((1, 1), np.float32), 0.0
    for octave in range(octaves):
        layer = rng.random((down, across), dtype=np.float32) * 2 - 1
        total = cv2.resize(total, (across, down), interpolation=cv2.INTER_CUBIC) + gain**octave * layer
        power += gain ** (2 * octave)
        across, down = across * 2, down * 2 if down > 1 else 1
    interpolation = cv2.INTER_AREA if total.shape[1] > size.width else cv2.INTER_CUBIC
    return cv2.resize(total * np.float32(0.9 / np.sqrt(power)), size[::-1], interpolation=interpolation)


class Canvas:
    """Picture (float32 [H,W,3], before exposure) and mask (uint8 [H,W]) painted together, back to front.

    `layout` draws shapes and places. `texture` draws what only the picture shows. Nothing that depends on the style may
    change how often `layout` is asked, so that the mask doesn't depend on the style.
    """

    def __init__(
        self,
        size: Size,
        style: Style,
        layout: np.random.Generator,
        texture: np.random.Generator,
        horizon: float,
    ):
        height, width = size
        self.size, self.style, self.layout, self.texture, self.horizon = size, style, layout, texture, horizon
        self.image = np.zeros((height, width, 3), np.float32)
        self.mask = np.full((height, width), _LABEL_IDS["other"], np.uint8)
        self.u = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]
        self.v = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self.nearness = np.maximum(self.v - horizon, 0.0)  # [H,1]; 1 / distance on the ground plane
        sun_v = horizon * (1.0 - style.elevation * 0.8)
        self.sun_distance = np.sqrt((self.u - style.sun_u) ** 2 * 1.78 + (self.v - sun_v) ** 2)  # [H,W]

    def chance(self, odds: float) -> bool:
        """True as often as `odds` says."""
        return bool(self.layout.random() < odds)

    def between(self, low: float, high: float) -> float:
        """A number drawn between `low` and `high`."""
        return float(self.layout.uniform(low, high))

    def one_of(self, *options: str) -> str:
        """One of the options; name one twice to favour it."""
        return options[int(self.layout.integers(len(options)))]

    def down(self, share: float) -> float:
        """The height v that lies `share` of the way from the horizon to the lower edge."""
        return self.horizon + share * (1.0 - self.horizon)

    def level(self, v: float) -> np.ndarray:
        """A straight curve [W] at height v."""
        return np.full(self.size.width, v, np.float32)

    def noise(self, cells: tuple[int, int], octaves: int = 4, gain: float = 0.5) -> np.ndarray:
        """Texture noise over the whole frame, [H,W]."""
        return value_noise(self.texture, self.size, cells, octaves, gain)

    def shape_noise(self, cells: tuple[int, int], octaves: int = 4, gain: float = 0.5) -> np.ndarray:
        """Layout noise over the whole frame, [H,W]."""
        return value_noise(self.layout, self.size, cells, octaves, gain)

    def curve(self, knots: int, octaves: int = 4, gain: float = 0.5) -> np.ndarray:
        """Layout noise along u, [W], about [-1, 1]."""
        return value_noise(self.layout, Size(1, self.size.width), (knots, 1), octaves, gain)[0]

    def ground_noise(
        self, cells: int, octaves: int = 4, scale: tuple[float, float] = (180, 120), upright: bool = False
    ) -> np.ndarray:
        """Texture noise on the ground plane in perspective, [H,W]. It fades out far away, so a large `scale` (across,
        along) is fine. `upright` things, such as blades and waves, grow towards the viewer but don't lie flat.
        """
        tile = value_noise(self.texture, Size(_TILE, _TILE), (cells, cells), octaves)
        first = int(self.horizon * self.size.height)
        nearness = self.nearness[first:]
        distance = 1.0 / (nearness + 0.06)

        def sample(across: np.ndarray, along: np.ndarray) -> np.ndarray:
            across = ((self.u - 0.5) * across * scale[0] + _TILE / 2).astype(np.float32)
            along = np.broadcast_to(along * np.float32(scale[1]), across.shape)
            return cv2.remap(tile, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

        if upright:  # blend the tile at the two nearest powers of two, each as it is seen from the front
            level = np.floor(np.log2(distance))
            finer = np.log2(distance) - level
            near, far = (sample(power, self.v[first:] * power) for power in (2**level, 2 ** (level + 1)))
            laid = (near * (1.0 - finer) + far * finer) / np.sqrt((1.0 - finer) ** 2 + finer**2)
        else:
            laid = sample(distance, distance)
        noise = np.zeros(self.mask.shape, np.float32)
        noise[first:] = laid * smoothstep(-0.02, 0.22, nearness)
        return noise

    def band(self, top: np.ndarray, foot: np.ndarray | float = 2.0) -> tuple[slice, np.ndarray]:
        """The rows between the curves v = top [W] and v = foot, and how much of each pixel lies between."""
        height = self.size.height
        first = int(np.clip(np.floor(np.min(top) * height) - 1, 0, height - 1))
        rows = slice(first, int(np.clip(np.ceil(np.max(foot) * height) + 1, first + 1, height)))
        alpha = np.clip((self.v[rows] - top) * height + 0.5, 0.0, 1.0)
        if np.min(foot) < 1.0:
            alpha *= np.clip((foot - self.v[rows]) * height + 0.5, 0.0, 1.0)
        return rows, alpha

    def put(
        self,
        alpha: np.ndarray,
        color: np.ndarray,
        label: str,
        rows: slice = slice(None),
        cols: slice = slice(None),
    ) -> None:
        """Paint `color` with coverage `alpha`; a pixel takes the label of what covers half of it or more."""
        block = self.image[rows, cols]
        block[...] = mix(block, color, alpha)
        self.mask[rows, cols][alpha >= 0.5] = _LABEL_IDS[label]

    def polygon(self, points: list[tuple[float, float]], color: np.ndarray, label: str) -> None:
        """Paint an antialiased polygon of (u, v) corners in one colour."""
        height, width = self.size
        corners = np.array(points, np.float64) * (width, height) - 0.5
        low = np.floor(corners.min(0)).astype(int) - 1
        high = np.ceil(corners.max(0)).astype(int) + 2
        (x0, y0), (x1, y1) = np.maximum(low, 0), np.minimum(high, (width, height))
        if x0 >= x1 or y0 >= y1:
            return
        coverage = np.zeros((y1 - y0, x1 - x0), np.uint8)
        fixed = np.round((corners - (x0, y0)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(coverage, [fixed], (255,), cv2.LINE_AA, _SUBPIXEL_BITS)
        self.put(coverage.astype(np.float32) / 255, color, label, slice(y0, y1), slice(x0, x1))

    def lit(self, surface: np.ndarray | str, shade: np.ndarray | float = 0.7) -> np.ndarray:
        """A surface colour under the style's light; `shade` 0 = in shadow, 1 = facing the sun."""
        albedo = self.style.surfaces[surface] if isinstance(surface, str) else surface
        sun, ambient = 1.25 * self.style.sun, 1.25 * self.style.ambient
        shade = np.asarray(shade, np.float32)
        if albedo.ndim == 1:
            return ramp(shade, sun * albedo, ambient * albedo)
        return ramp(shade, sun, ambient) * albedo

    def toned(self, surface: np.ndarray | str, brightness: np.ndarray) -> np.ndarray:
        """A surface colour times a brightness [h,w] that varies about 1."""
        return ramp(brightness, self.style.surfaces[surface] if isinstance(surface, str) else surface)

    def through_air(self, color: np.ndarray, distance: np.ndarray | float) -> np.ndarray:
        """Aerial perspective: a colour seen through `distance` (0 here, about 4 at the horizon) of air."""
        veil = 1.0 - np.exp(-self.style.haze * np.asarray(distance, np.float32))
        return mix(color, self.style.horizon * 0.92, veil)

    def distance_at(self, v: np.ndarray | float) -> np.ndarray | float:
        """Distance of the ground at height v, for `through_air`."""
        return np.maximum(0.25 / (np.maximum(v - self.horizon, 0.0) + 0.07) - 0.4, 0.03)

    def snowed(self, surface: np.ndarray, amount: np.ndarray | float) -> np.ndarray:
        """A surface colour under as much of the season's snow as `amount` (0 to 1) lets lie."""
        if self.style.snow == 0.0:
            return surface
        return mix(surface, self.style.surfaces["snow"], self.style.snow * amount)

    def scale_at(self, v: float) -> float:
        """How large a thing that stands on the ground at height v appears, 1 at the lower edge."""
        return max(v - self.horizon, 0.01) / (1.0 - self.horizon)

    def developed(self) -> np.ndarray:
        """Expose and grade the picture: uint8 RGB [H,W,3]."""
        # The air between glows around the sun.
        lit = self.image + ramp(np.exp(-3.5 * self.sun_distance), 0.2 * self.style.sun)
        # Most of the way to the style's key, as a camera's automatic exposure would.
        gain = (self.style.key / max(float(lit.mean()), 1e-3)) ** 0.65
        saturation = self.style.saturation
        grade = gain * (saturation * np.eye(3) + (1.0 - saturation) / 3.0)
        image = cv2.transform(lit, grade.astype(np.float32))
        # A soft shoulder above 0.8 keeps snow and clouds from burning out.
        over = np.maximum(image - 0.8, 0.0)
        image = np.clip(image, 0.0, 0.8) + over * 0.2 / (over + 0.2)
        return (image * 255 + 0.5).astype(np.uint8)


class Patch:
    """A box around a thing: local x right and y down, both in [-1, 1], on the rows and columns it covers."""

    def __init__(self, canvas: Canvas, u: float, v: float, half_width: float, half_height: float):
        height, width = canvas.size
        left, right = ((u - half_width) * width, (u + half_width) * width)
        top, bottom = ((v - half_height) * height, (v + half_height) * height)
        self.cols = slice(max(int(left) - 1, 0), int(np.clip(right + 2, 0, width)))
        self.rows = slice(max(int(top) - 1, 0), int(np.clip(bottom + 2, 0, height)))
        self.x = (canvas.u[:, self.cols] - u) / half_width
        self.y = (canvas.v[self.rows] - v) / half_height
        self.pixels = max(half_height * height, 1.0)  # pixels per unit of y
        self.pixels_across = max(half_width * width, 1.0)
        self.empty = self.x.size == 0 or self.y.size == 0

    def noise(self, rng: np.random.Generator, cells: int, octaves: int = 3, gain: float = 0.5) -> np.ndarray:
        """Value noise that moves with the box, [rows,cols]."""
        tile = value_noise(rng, Size(64, 64), (cells, cells), octaves, gain)
        if self.empty:
            return np.zeros((self.y.size, self.x.size), np.float32)
        shape = (self.y.size, self.x.size)
        at_x = np.broadcast_to((self.x + 1) * 32, shape).astype(np.float32)
        at_y = np.broadcast_to((self.y + 1) * 32, shape).astype(np.float32)
        return cv2.remap(tile, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
