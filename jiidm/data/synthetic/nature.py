"""Trees, boulders, rivers, paths and waterfalls of the synthetic landscapes."""

from __future__ import annotations

import math

import numpy as np

from jiidm.data.synthetic.canvas import ASPECT, Canvas, Patch, mix, smoothstep
from jiidm.data.synthetic.style import Style
from jiidm.data.synthetic.terrain import water_color

_LINE_PAINT = np.array([0.92, 0.90, 0.82], np.float32)  # on roads


def cast_shadow(canvas: Canvas, u: float, v: float, length: float, thickness: float) -> None:
    """Darken the ground under a thing and on the side that faces away from the light, far where the sun is low.

    Changes no label.
    """
    strength = 0.5 * min(1.0, float(canvas.style.sun.mean()) * 1.6)
    length *= 1.6 - 0.8 * canvas.style.elevation
    darken(canvas, u - canvas.style.light_side * length * 0.75, v, length, thickness, strength)
    darken(canvas, u, v, length * 0.5, thickness * 0.7, 0.4)


def darken(canvas: Canvas, u: float, v: float, half_width: float, half_height: float, strength: float) -> None:
    """Darken a soft ellipse centred at (u, v). Changes no label."""
    patch = Patch(canvas, u, v, half_width, half_height)
    if not patch.empty:
        dark = strength * np.clip(1.2 - 1.2 * (patch.x**2 + patch.y**2), 0.0, 1.0)
        canvas.image[patch.rows, patch.cols] *= (1.0 - dark)[..., None]


def paint_treeline(canvas: Canvas, edge: np.ndarray, height: float, count: int, conifer: bool) -> None:
    """A row of `count` trees along a curve [W], `height` (share of the picture) high."""
    rng, style = canvas.layout, canvas.style
    start, stop = sorted(rng.uniform(-0.3, 1.3, 2))
    stop = max(stop, start + 0.45)
    centers = np.sort(rng.uniform(start, stop, count))
    heights = height * rng.uniform(0.55, 1.1, count)
    spread = heights * ASPECT * (rng.uniform(0.26, 0.4, count) if conifer else rng.uniform(0.5, 0.75, count))
    profile, front, aside = _crown_row(canvas, centers, heights, spread, conifer)
    profile = profile * (1.0 + 0.14 * canvas.curve(48, 3, 0.8))
    foot = edge + height * np.where(profile > 0, np.float32(0.05), np.float32(-0.1))  # none between the groups
    rows, alpha = canvas.band(edge - profile, foot)
    below = (canvas.v[rows] - edge + profile) / height
    leaves = canvas.noise((56, 50), 2)[rows]
    # Where crowns meet, their boughs mingle.
    columns = (canvas.u + 0.3 * height * canvas.noise((40, 36), 2)[rows]) * canvas.size.width
    columns = np.clip(columns, 0, canvas.size.width - 1).astype(np.int32)
    tone, aside = canvas.texture.random(count, np.float32)[front][columns], aside[columns]
    surface = _crown_color(style, conifer, tone) * (1.0 + 0.2 * leaves[..., None])
    if conifer:
        surface = canvas.snowed(surface, 0.6 * smoothstep(0.1, 0.8, leaves - below + 0.5))
    facing = np.clip(0.6 + 0.35 * style.light_side * aside * (1 - below) + 0.25 * leaves - 0.5 * below, 0.0, 1.0)
    air = 0.6 * canvas.distance_at(float(edge.mean()))
    canvas.put(alpha, canvas.through_air(canvas.lit(surface, facing), air), "tree", rows)


def _crown_row(
    canvas: Canvas, centers: np.ndarray, heights: np.ndarray, spread: np.ndarray, pointed: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crowns side by side, each [count] half as wide as `spread`.

    Returns their outline [W] above the ground, the number of the highest crown [W], and the place of a column in it
    [W], -1 to 1.
    """
    aside = ((canvas.u - centers[:, None]) / spread[:, None]).astype(np.float32)  # [count,W]
    shape = 1.0 - np.abs(aside) if pointed else np.sqrt(np.clip(1.0 - aside**2, 0, None))
    crowns = heights[:, None].astype(np.float32) * np.clip(shape, 0.0, None)
    front = crowns.argmax(0)
    return crowns.max(0), front, np.clip(np.take_along_axis(aside, front[None], 0)[0], -1.0, 1.0)


def paint_plants(canvas: Canvas, edge: np.ndarray) -> None:
    """Low bushes, rank before rank, from a far edge [W] to the lower edge of the picture."""
    edge = edge + 0.06 * canvas.scale_at(float(edge.mean()))  # room for the first rank to rise above it
    while edge.min() < 1.0:
        size = 0.11 * canvas.scale_at(float(edge.mean()))
        _paint_bushes(canvas, edge, size)
        edge = edge + 0.55 * size


def _paint_bushes(canvas: Canvas, edge: np.ndarray, size: float) -> None:
    rng, style = canvas.layout, canvas.style
    count = int(1.6 / (size * ASPECT))
    centers = np.linspace(-0.05, 1.05, count) + rng.uniform(-0.4, 0.4, count) / count
    heights = size * rng.uniform(0.4, 1.0, count)
    profile, front, aside = _crown_row(canvas, centers, heights, size * ASPECT * rng.uniform(0.7, 1.2, count), False)
    rows, alpha = canvas.band(edge - profile * (1.0 + 0.12 * canvas.curve(48, 2)))
    below = np.clip((canvas.v[rows] - edge + profile) / size, 0.0, 1.0)
    leaves = canvas.noise((70, 60), 2)[rows]
    tone = canvas.texture.uniform(0.75, 1.25, count).astype(np.float32)[front]
    flowering = canvas.texture.random(count) < 0.4
    surface = canvas.toned("plant", tone + 0.2 * leaves)
    blossoms = smoothstep(0.3, 0.5, leaves + 0.3 - 0.6 * below) * flowering[front]
    surface = mix(surface, style.surfaces["flower"], 0.9 * blossoms)
    surface = canvas.snowed(surface, 0.8 * smoothstep(0.45, 0.15, below + 0.2 * leaves))
    facing = np.clip(0.85 + 0.3 * style.light_side * aside + 0.2 * leaves - 0.85 * below, 0.0, 1.0)
    color = canvas.lit(surface * (1.0 - 0.35 * below)[..., None], facing)
    canvas.put(alpha, canvas.through_air(color, canvas.distance_at(float(edge.mean()))), "plant", rows)


def _crown_color(style: Style, conifer: bool, tone: np.ndarray | float) -> np.ndarray:
    """Crown colour for a `tone` in [0, 1] that varies from tree to tree."""
    if conifer:
        return mix(style.surfaces["conifer"] * 0.8, style.surfaces["conifer"] * 1.3, np.asarray(tone))
    return mix(style.surfaces["leaf"], style.surfaces["leaf2"], np.asarray(tone))


def paint_tree(canvas: Canvas, u: float, v: float, height: float, conifer: bool) -> None:
    """One tree that stands at (u, v), `height` (share of the picture) high."""
    half_width = height * ASPECT * (0.25 if conifer else 0.4)
    patch = Patch(canvas, u, v - height / 2, half_width, height / 2)
    crown = _conifer_crown if conifer else _broadleaf_crown
    alpha, surface, shade = crown(canvas, patch)
    if patch.empty:
        return
    cast_shadow(canvas, u, v, half_width * 1.3, height * 0.06)
    half_trunk = (0.045 if conifer else 0.04) * (1.1 + patch.y) + 0.06 * smoothstep(0.75, 1.0, patch.y)
    inside = half_trunk - np.abs(patch.x)
    if not conifer:  # a fork under the crown
        inside = np.maximum(inside, 0.035 - np.abs(np.abs(patch.x) - 0.5 * (0.42 - patch.y)) - (patch.y > 0.42))
    trunk = np.clip(inside * patch.pixels_across + 0.5, 0, 1)
    trunk = trunk * np.clip((1.0 - patch.y) * patch.pixels, 0, 1) * (patch.y > -0.3)
    bark = canvas.lit("wood", np.clip(0.4 + 5.0 * canvas.style.light_side * patch.x, 0.0, 0.8) * (0.5 + 0.5 * patch.y))
    air = canvas.distance_at(v)
    canvas.put(trunk, canvas.through_air(bark, air), "tree", patch.rows, patch.cols)
    color = canvas.through_air(canvas.lit(surface, np.clip(shade, 0.0, 1.0)), air)
    canvas.put(alpha, color, "tree", patch.rows, patch.cols)


def _conifer_crown(canvas: Canvas, patch: Patch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage, surface colour and shade of a fir: tiers of drooping branches."""
    style = canvas.style
    tiers = canvas.layout.uniform(2.6, 3.6)
    bumps, needles = patch.noise(canvas.layout, 9, 3), patch.noise(canvas.texture, 26, 2)
    tone = float(canvas.texture.random())
    tier = np.mod((patch.y + 1.0) * tiers - 0.5 * np.abs(patch.x) + 0.12 * bumps, 1.0)
    reach = np.clip(patch.y + 1.0, 0, 1.86) * 0.49 * (0.62 + 0.38 * tier) + 0.07 * bumps * (patch.y > -0.9)
    inside = (reach - np.abs(patch.x)) * patch.pixels_across
    alpha = np.clip(inside + 0.5, 0.0, 1.0) * np.clip((0.86 - patch.y) * patch.pixels + 0.5, 0.0, 1.0)
    surface = canvas.toned(_crown_color(style, True, tone), 1.0 + 0.35 * needles)
    surface = canvas.snowed(surface, 0.9 * smoothstep(0.4, 0.85, tier + 0.35 * needles))
    return alpha, surface, 0.2 + 0.4 * style.light_side * patch.x + 0.45 * tier + 0.3 * needles


def _broadleaf_crown(canvas: Canvas, patch: Patch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage, surface colour and shade of a round crown: leafy clumps that melt into each other."""
    rng, style, clumps = canvas.layout, canvas.style, 16
    angle, away = rng.uniform(0, 2 * np.pi, clumps), np.sqrt(rng.uniform(0.0, 1.0, clumps))
    at_x, at_y = 0.66 * away * np.cos(angle), -0.32 + 0.42 * away * np.sin(angle)
    radius = rng.uniform(0.24, 0.36, clumps)
    edge, leaves = patch.noise(rng, 16, 2), patch.noise(canvas.texture, 16, 3)
    tone = float(canvas.texture.random())
    weights = np.full((patch.y.size, patch.x.size), 1e-6, np.float32)
    facing = np.zeros_like(weights)
    for x, y, r in zip(at_x.tolist(), at_y.tolist(), radius.tolist()):
        aside, down = (patch.x - x) / r, (patch.y - y) / (r * 0.85)
        weight = np.exp(-3.0 * (aside**2 + down**2))
        weights += weight
        facing += weight * (0.35 * style.light_side * aside - 0.45 * down)
    alpha = np.clip((np.log(weights) / 3.0 + 0.75 + 0.35 * edge) * 0.16 * patch.pixels + 0.5, 0.0, 1.0)
    alpha = alpha * (np.abs(patch.x) < 1.0) * (patch.y > -1.0)
    ball = 0.3 * style.light_side * patch.x - 0.5 * (patch.y + 0.32)
    lightness = 0.38 + 0.65 * facing / weights + ball + 0.2 * leaves
    surface = canvas.toned(_crown_color(style, False, tone), 1.0 + 0.2 * leaves)
    surface = canvas.snowed(surface, 0.75 * smoothstep(0.4, 0.9, lightness))
    return alpha, surface, lightness


def scatter_trees(
    canvas: Canvas,
    conifer: bool,
    counts: tuple[int, int],
    reach: tuple[float, float],
    height: float,
    margin: float,
    strip: Strip | None = None,
) -> None:
    """`counts` (least, most + 1) trees over a `reach` (far, near) of heights v; `height` as seen nearest.

    They stand within `margin` (share of the width) of the left or right edge, and beside the `strip`.
    """
    rng = canvas.layout
    for v in np.sort(rng.uniform(*reach, rng.integers(*counts))):
        size = height * rng.uniform(0.75, 1.2) * (0.12 + canvas.scale_at(float(v)))
        u = rng.uniform(-0.02, margin)
        u = u if rng.random() < 0.5 else 1.0 - u
        if strip is not None:
            u = strip.beside(u, float(v), 0.05 * size + 0.01)
        paint_tree(canvas, float(u), float(v), float(size), conifer)


def paint_rock(canvas: Canvas, u: float, v: float, size: float) -> None:
    """A boulder that lies at (u, v), half its height `size`: a top and a ring of flat facets."""
    rng, style = canvas.layout, canvas.style
    wide, corners = rng.uniform(1.0, 1.6), int(rng.integers(7, 10))
    angles = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * (2 * np.pi / corners)
    reach = rng.uniform(0.72, 0.94, corners)
    tilt = rng.uniform(-0.15, 0.15)
    patch = Patch(canvas, u, v - size * 0.8, size * wide * ASPECT, size)
    chips, grain = patch.noise(rng, 8, 3), patch.noise(canvas.texture, 14, 3)
    if patch.empty:
        return
    cast_shadow(canvas, u, v, size * wide * ASPECT * 1.1, size * 0.35)
    x, y = patch.x + 0.03 * chips, patch.y + 0.03 * chips
    inside = np.full(x.shape, 9.0, np.float32)
    on_top = inside.copy()
    facing = np.zeros_like(inside)
    for angle, distance in zip(angles.tolist(), reach.tolist()):
        right, down = math.cos(angle), math.sin(angle)
        across = right * x + down * y
        top_edge = distance * 0.42 - across - 0.36 * down + tilt * x
        light = 0.55 * style.light_side * right - 0.5 * down
        facing = np.where(top_edge < on_top, np.float32(light), facing)
        on_top = np.minimum(on_top, top_edge)
        inside = np.minimum(inside, distance - across)
    alpha = np.clip(inside * patch.pixels + 0.5, 0, 1) * np.clip((0.8 - patch.y) * patch.pixels + 0.5, 0, 1)
    top = smoothstep(-0.02, 0.02, on_top)
    shade = 0.36 + 0.6 * facing * (1.0 - top) + 0.5 * top - 0.15 * patch.y + 0.12 * grain
    surface = canvas.toned("rock", 1.0 + 0.14 * grain)
    surface = canvas.snowed(surface, smoothstep(-0.06, 0.04, on_top + 0.1 * grain))
    air = canvas.distance_at(v)
    color = canvas.through_air(canvas.lit(surface, np.clip(shade, 0.0, 1.0)), air)
    canvas.put(alpha, color, "rock", patch.rows, patch.cols)


def scatter_rocks(canvas: Canvas, counts: tuple[int, int], reach: tuple[float, float], size: float) -> None:
    """`counts` (least, most + 1) boulders in clusters over a `reach` of heights v; `size` as seen nearest."""
    clusters = canvas.layout.uniform(0.0, 1.0, 3)
    for v in np.sort(canvas.layout.uniform(*reach, canvas.layout.integers(*counts))):
        u = canvas.layout.choice(clusters) + 0.09 * canvas.layout.standard_normal()
        scale = size * canvas.layout.uniform(0.4, 1.2) * (0.1 + canvas.scale_at(float(v)))
        paint_rock(canvas, float(u), float(v), float(scale))


class Strip:
    """The course of a river, path or road that winds from the lower edge to the horizon."""

    def __init__(self, canvas: Canvas, width: float):
        rng = canvas.layout
        self.horizon, self.width = canvas.horizon, width
        self.near_u, self.far_u = rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.7)
        self.swing, self.phase = rng.uniform(0.05, 0.16), rng.uniform(0.0, 2 * np.pi)

    def at(self, v: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """The middle of the course at height v, and half its width there, both in u."""
        scale = np.clip((v - self.horizon) / (1.0 - self.horizon), 1e-3, 1.0)
        bends = self.swing * np.sin(self.phase + 2.6 * np.log(scale + 0.06)) * np.sqrt(scale)
        return self.far_u + (self.near_u - self.far_u) * scale + bends, 0.5 * self.width * scale + 0.002

    def beside(self, u: float, v: float, room: float) -> float:
        """The place nearest to u at height v that keeps `room` from the bank."""
        center, half = self.at(v)
        if abs(u - center) >= half + room:
            return u
        return float(center + np.copysign(half + room, u - center))


def paint_strip(canvas: Canvas, strip: Strip, label: str, top: float) -> None:
    """A river, path or road along a course, up to height `top`."""
    rows = slice(int(top * canvas.size.height), canvas.size.height)
    center, half = strip.at(canvas.v[rows])
    ragged = 0.0 if label == "road" else 0.12
    half = half * (1.0 + ragged * canvas.shape_noise((10, 24), 3)[rows])
    offset = canvas.u - center
    alpha = np.clip((half - np.abs(offset)) * canvas.size.width + 0.5, 0.0, 1.0)
    canvas.put(alpha, _strip_color(canvas, label, rows, offset / half, top), label, rows)


def _strip_color(canvas: Canvas, label: str, rows: slice, across: np.ndarray, top: float) -> np.ndarray:
    """Colour of a strip; `across` runs from -1 at its left bank to 1 at its right bank."""
    if label == "river":
        bank = np.clip(np.abs(across), 0.0, 1.0)[..., None] ** 6
        return water_color(canvas, "river", rows, top) * (1.0 - 0.3 * bank)
    grain, patches = canvas.noise((120, 90), 2)[rows], canvas.ground_noise(12, 3)[rows]
    surface = canvas.toned(label, 1.0 + 0.12 * grain + 0.16 * patches)
    aside = np.abs(across)
    if label == "path":
        ruts = smoothstep(0.22, 0.0, np.abs(aside - 0.5))
        surface = surface * (1.0 - 0.16 * ruts)[..., None]
    kept = 0.15 if label == "road" else 0.4
    surface = canvas.snowed(surface, kept * smoothstep(-0.2, 0.6, patches + 0.4 * aside))
    if label == "road":
        dashed = np.sin(20.0 * np.log(canvas.nearness[rows] + 0.01)) > 0.0
        middle, edges = smoothstep(0.055, 0.03, aside), smoothstep(0.035, 0.015, np.abs(aside - 0.9))
        surface = mix(surface, _LINE_PAINT, 0.85 * np.clip(middle * dashed + edges, 0.0, 1.0))
    color = canvas.lit(surface, 0.66 + 0.12 * patches)
    return canvas.through_air(color, canvas.distance_at(canvas.v[rows]))


def paint_cliff(canvas: Canvas, top: np.ndarray, foot: float) -> None:
    """A rock wall from a curve [W] down to height `foot`, with strata and cracks."""
    rows, alpha = canvas.band(top, foot)
    blocks, cracks = canvas.noise((12, 9), 4, 0.6)[rows], canvas.noise((26, 5), 4, 0.6)[rows]
    strata = np.sin(canvas.v[rows] * 85 + 5.0 * blocks)
    facets, gaps = np.floor((blocks + 0.4 * cracks) * 3.0) / 3.0, smoothstep(0.1, 0.0, np.abs(cracks))
    shade = np.clip(0.45 + 0.4 * facets - 0.35 * gaps, 0.0, 1.0)
    surface = canvas.toned("rock", 0.95 + 0.15 * blocks + 0.08 * strata)
    moss = smoothstep(0.1, 0.6, blocks + 0.6 - 4.0 * (canvas.v[rows] - top))
    surface = mix(surface, canvas.style.surfaces["grass"] * 0.75, moss * 0.6)
    surface = canvas.snowed(surface, 0.8 * smoothstep(0.3, 0.7, blocks + 0.3 * strata))
    canvas.put(alpha, canvas.through_air(canvas.lit(surface, shade), 0.9), "rock", rows)


def paint_waterfall(canvas: Canvas, u: float, top: float, foot: float, width: float) -> None:
    """Falling water: bright streaks that widen towards the foot, and spray around it."""
    drift = 0.012 * canvas.shape_noise((1, 8), 3)
    threads = canvas.noise((44, 3), 2)
    fall = np.clip((canvas.v - top) / (foot - top), 0.0, 1.0)
    half = 0.5 * width * (0.7 + 0.5 * fall) * (1.0 + 0.15 * canvas.shape_noise((2, 12), 3))
    aside = canvas.u - u - drift
    alpha = np.clip((half - np.abs(aside)) * canvas.size.width + 0.5, 0, 1)
    alpha = alpha * ((canvas.v >= top) & (canvas.v <= foot))
    white = canvas.lit("snow", np.clip(0.7 + 0.3 * threads, 0.0, 1.0))
    color = mix(white, canvas.lit("river", 0.6), 0.55 * smoothstep(0.3, -0.7, threads) * (1.0 - 0.7 * fall))
    canvas.put(alpha, color, "waterfall")
    spray = np.exp(-((aside / (width * 0.9)) ** 2) - ((canvas.v - foot) / 0.035) ** 2) * 0.75
    canvas.image[...] = mix(canvas.image, canvas.lit("snow", 0.6), spray)
