"""What people built: houses, walls, fences, bridges, piers, boats, and the people themselves."""

from __future__ import annotations

import numpy as np

from jiidm.data.synthetic.canvas import ASPECT, Canvas, smoothstep
from jiidm.data.synthetic.nature import Strip, cast_shadow, darken


def _rgb(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


_WALLS = (_rgb(0.88, 0.82, 0.72), _rgb(0.78, 0.50, 0.38), _rgb(0.92, 0.90, 0.88), _rgb(0.62, 0.44, 0.30))
_ROOFS = (_rgb(0.62, 0.22, 0.16), _rgb(0.36, 0.26, 0.24), _rgb(0.50, 0.30, 0.22))
_HULLS = (_rgb(0.80, 0.16, 0.12), _rgb(0.12, 0.30, 0.60), _rgb(0.90, 0.88, 0.84), _rgb(0.86, 0.52, 0.14))
_CLOTHES = (_rgb(0.86, 0.18, 0.16), _rgb(0.16, 0.30, 0.70), _rgb(0.95, 0.76, 0.20), _rgb(0.88, 0.88, 0.90))


def _pick(canvas: Canvas, colors: tuple[np.ndarray, ...]) -> np.ndarray:
    return colors[int(canvas.texture.integers(len(colors)))]


class _Sprite:
    """A drawing board of polygons for a thing whose foot is at (u, v): x to the right, y up, in its height."""

    def __init__(self, canvas: Canvas, label: str, u: float, v: float, size: float, side: float = 1.0):
        self.canvas, self.label, self.u, self.v = canvas, label, u, v
        self.x_unit, self.y_unit = size * ASPECT * side, size

    def polygon(self, color: np.ndarray, *corners: tuple[float, float]) -> None:
        placed = [(self.u + x * self.x_unit, self.v - y * self.y_unit) for x, y in corners]
        self.canvas.polygon(placed, color, self.label)

    def box(self, color: np.ndarray, x0: float, y0: float, x1: float, y1: float) -> None:
        self.polygon(color, (x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _window_color(canvas: Canvas) -> np.ndarray:
    """Windows are dark by day and lit in the evening."""
    if canvas.style.time in ("dusk", "night"):
        return _rgb(1.0, 0.78, 0.36) * (0.5 + canvas.style.key)
    return canvas.lit(_rgb(0.20, 0.25, 0.32), 0.5)


def paint_house(canvas: Canvas, u: float, v: float, size: float) -> None:
    """A cottage with a gable, its foot at (u, v), `size` (share of the picture) high."""
    wall, roof, window = _pick(canvas, _WALLS), _pick(canvas, _ROOFS), _window_color(canvas)
    roof = canvas.snowed(roof, 0.9)
    side = float(canvas.layout.choice([-1.0, 1.0]))
    facing = 0.85 if side == -canvas.style.light_side else 0.4
    cast_shadow(canvas, u + 0.3 * side * size * ASPECT, v, size * ASPECT * 1.2, size * 0.12)
    house = _Sprite(canvas, "house", u, v, size, side)
    house.box(canvas.lit(wall, 1.15 - facing), 0.0, 0.0, 1.0, 0.55)
    gable = [(-0.55, 0.0), (-0.55, 0.55), (-0.275, 1.0), (0.0, 0.55), (0.0, 0.0)]
    house.polygon(canvas.lit(wall, facing), *gable)
    house.box(canvas.lit(wall * 0.7, 0.6), 0.62, 0.7, 0.74, 1.08)  # chimney
    house.polygon(canvas.lit(roof, 0.75), (-0.275, 1.02), (0.78, 1.02), (1.06, 0.5), (0.0, 0.5))
    house.polygon(canvas.lit(roof, 0.5), (-0.62, 0.5), (-0.275, 1.02), (-0.275, 0.93))
    for x in (0.16, 0.46, 0.76):
        house.box(window, x, 0.2, x + 0.13, 0.4)
    house.box(canvas.lit("wood", 0.4), -0.35, 0.0, -0.2, 0.34)  # door


def paint_building(canvas: Canvas, u: float, v: float, size: float) -> None:
    """A church: a tower with a spire beside a hall, its foot at (u, v), `size` high."""
    wall = _rgb(0.80, 0.74, 0.66) * float(canvas.texture.uniform(0.8, 1.1))
    roof, window = canvas.snowed(_pick(canvas, _ROOFS) * 0.8, 0.7), _window_color(canvas)
    side, spire = float(canvas.layout.choice([-1.0, 1.0])), canvas.between(0.2, 0.45)
    shade, tower = 0.75 if side == -canvas.style.light_side else 0.45, 1.0 - spire
    cast_shadow(canvas, u, v, size * ASPECT, size * 0.1)
    church = _Sprite(canvas, "building", u, v, size, side)
    church.box(canvas.lit(wall, shade), 0.0, 0.0, 0.8, 0.42)
    church.polygon(canvas.lit(roof, shade), (0.0, 0.62), (0.74, 0.62), (0.84, 0.4), (0.0, 0.4))
    church.box(canvas.lit(wall, shade + 0.15), -0.3, 0.0, -0.1, tower)
    church.box(canvas.lit(wall, shade - 0.25), -0.1, 0.0, 0.02, tower)
    church.polygon(canvas.lit(roof, shade), (-0.33, tower), (-0.14, 1.0), (0.05, tower))
    for x in (0.12, 0.34, 0.56):
        church.box(window, x, 0.1, x + 0.09, 0.32)
    church.box(window, -0.23, tower - 0.2, -0.16, tower - 0.08)


def paint_wall(canvas: Canvas, v: float, height: float) -> None:
    """A dry stone wall across the picture, its foot about height v."""
    foot = v + 0.012 * canvas.curve(3, 2)
    top = foot - height * (1.0 + 0.1 * canvas.curve(24, 2, 0.8))
    rows, alpha = canvas.band(top, foot)
    course = (canvas.v[rows] - foot) / height * 4.0
    shifted = canvas.u / (height * 0.55) + 0.5 * np.mod(np.floor(course), 2.0)
    wobble = canvas.noise((40, 30), 2)[rows]
    joint = np.minimum(_from_edge(course + 0.12 * wobble), _from_edge(shifted + 0.12 * wobble) * 1.6)
    tone = np.sin(np.floor(course) * 12.9 + np.floor(shifted) * 78.2) * 0.5
    surface = canvas.toned("wall", 1.0 + 0.22 * tone + 0.15 * wobble)
    surface = canvas.snowed(surface, (canvas.v[rows] - top < height * 0.16).astype(np.float32))
    color = canvas.lit(surface, 0.15 + 0.6 * smoothstep(0.02, 0.16, joint))
    canvas.put(alpha, color, "wall", rows)


def _from_edge(position: np.ndarray) -> np.ndarray:
    """Distance to the nearest whole number."""
    return np.abs(position - np.round(position))


def paint_barrier(canvas: Canvas, label: str, v: float, height: float) -> None:
    """A wooden fence or a metal railing across the picture, its foot about height v."""
    rail = label == "railing"
    foot = v + 0.015 * canvas.curve(3, 1)
    spacing, thick = (0.042, 0.010) if rail else (0.085, 0.016)
    gap = np.abs(np.mod(canvas.u / spacing + canvas.layout.random(), 1.0) - 0.5) * spacing
    rows, below = canvas.band(foot - height * 1.08, foot)
    up = (foot - canvas.v[rows]) / height  # 0 at the foot, 1 at the top
    alpha = below * np.clip((thick / 2 - gap) * canvas.size.width + 0.5, 0.0, 1.0)
    for level in (0.2, 0.97) if rail else (0.38, 0.8):
        beam = np.clip((thick * 0.62 - np.abs(up - level) * height) * canvas.size.height + 0.5, 0.0, 1.0)
        alpha = np.maximum(alpha, beam)
    surface = _rgb(0.34, 0.38, 0.44) if rail else canvas.style.surfaces["wood"] * 1.25
    grain = canvas.noise((30, 120), 2)[rows]
    surface = canvas.snowed(canvas.toned(surface, 1.0 + 0.2 * grain), 0.4 * smoothstep(0.84, 0.86, up))
    canvas.put(alpha, canvas.lit(surface, 0.45 + 0.3 * up), label, rows)


def paint_bridge(canvas: Canvas, strip: Strip, v: float, height: float) -> None:
    """A stone arch bridge over a river at height v."""
    arches = int(canvas.layout.integers(1, 4))
    center, half = strip.at(v)
    along = (canvas.u - center) / (2.0 * half + 0.24) + 0.5
    deck = v - height * (0.75 + 0.35 * np.sin(np.clip(along, 0, 1) * np.pi))[0]
    rows, alpha = canvas.band(deck, v)
    alpha = alpha * ((along > 0) & (along < 1))
    span = (np.mod(along * arches, 1.0) - 0.5) * 2.4
    arch = 0.62 * (v - deck) * np.sqrt(np.clip(1.0 - span**2, 0.0, None))
    alpha = alpha * np.clip((v - arch - canvas.v[rows]) * canvas.size.height + 0.5, 0.0, 1.0)
    stones = canvas.noise((60, 44), 2, 0.8)[rows]
    parapet = smoothstep(0.2, 0.16, (canvas.v[rows] - deck) / height)
    surface = canvas.toned(_rgb(0.60, 0.50, 0.44), 1.0 + 0.25 * stones + 0.2 * parapet)
    surface = canvas.snowed(surface, 0.7 * parapet)
    canvas.put(alpha, canvas.lit(surface, 0.5 + 0.25 * parapet + 0.1 * stones), "bridge", rows)


def paint_pier(canvas: Canvas, top: float, width: float) -> None:
    """A wooden pier from the lower edge out over the water to height `top`."""
    near_u, far_u = canvas.layout.uniform(0.2, 0.8), canvas.layout.uniform(0.35, 0.65)
    scale = np.clip((canvas.v - canvas.horizon) / (1.0 - canvas.horizon), 1e-3, 1.0)
    across = (canvas.u - far_u - (near_u - far_u) * scale) / (0.5 * width * scale)
    alpha = np.clip((1.0 - np.abs(across)) * 0.5 * width * scale * canvas.size.width + 0.5, 0.0, 1.0)
    alpha = alpha * np.clip((canvas.v - top) * canvas.size.height + 0.5, 0.0, 1.0)
    rows = slice(int(top * canvas.size.height), canvas.size.height)
    plank = np.mod(3.0 / (canvas.nearness[rows] + 0.05) * 4.0, 1.0)
    visible = smoothstep(0.05, 0.2, canvas.nearness[rows])
    grain = canvas.noise((20, 110), 2)[rows]
    surface = canvas.toned("wood", 1.25 + 0.2 * grain - 0.6 * visible * (plank < 0.16))
    surface = canvas.snowed(surface, 0.5 * smoothstep(-0.2, 0.4, grain))
    shade = 0.7 - 0.4 * smoothstep(0.86, 0.95, np.abs(across[rows]))
    canvas.put(alpha[rows], canvas.lit(surface, shade), "pier", rows)
    _pier_posts(canvas, near_u, far_u, top, width)


def _pier_posts(canvas: Canvas, near_u: float, far_u: float, top: float, width: float) -> None:
    for scale in np.geomspace(canvas.scale_at(top), 0.9, 5).tolist():
        center = far_u + (near_u - far_u) * scale
        for side in (-1, 1):
            color = canvas.lit("wood", 0.75 if side == -canvas.style.light_side else 0.4)
            u, half = center + side * 0.5 * width * scale, (0.016 * scale + 0.002) / ASPECT
            _Sprite(canvas, "pier", u, canvas.down(scale), 1.0).box(color, -half, -0.048 * scale, half, 0.16 * scale)


def paint_boat(canvas: Canvas, u: float, v: float, size: float, sails: bool) -> None:
    """A sailing or rowing boat afloat at (u, v); `size` is the height of its mast."""
    hull = _pick(canvas, _HULLS)
    darken(canvas, u, v + 0.2 * size, 0.6 * size * ASPECT, 0.25 * size, 0.5)  # its dark mirror image
    boat = _Sprite(canvas, "boat", u, v, size)
    if sails:
        cloth = canvas.lit(_rgb(0.95, 0.93, 0.88), 0.85)
        boat.polygon(cloth, (-0.03, 1.0), (-0.03, 0.2), (0.5, 0.2))
        boat.polygon(cloth * 0.86, (-0.08, 0.9), (-0.08, 0.2), (-0.42, 0.2))
        boat.box(canvas.lit("wood", 0.4), -0.075, 0.1, -0.035, 1.04)
    boat.polygon(canvas.lit(hull, 0.6), (-0.62, 0.18), (0.6, 0.18), (0.42, -0.03), (-0.42, -0.03))
    rim = canvas.lit(_rgb(0.92, 0.90, 0.86), 0.8)
    boat.polygon(rim, (-0.62, 0.18), (0.6, 0.18), (0.57, 0.13), (-0.58, 0.13))


def paint_ship(canvas: Canvas, u: float, v: float, size: float) -> None:
    """A steamer afloat at (u, v); `size` is its height, its length four times that."""
    hull, window = _pick(canvas, _HULLS[:2]) * 0.6, _window_color(canvas)
    white = canvas.lit(_rgb(0.93, 0.93, 0.91), 0.8)
    darken(canvas, u, v + 0.3 * size, 2.0 * size * ASPECT, 0.35 * size, 0.5)
    ship = _Sprite(canvas, "ship", u, v, size)
    ship.box(white, -1.2, 0.3, 0.9, 0.62)
    ship.box(white * 0.92, -0.8, 0.6, 0.3, 0.78)
    for x in (-0.5, 0.0):
        ship.box(canvas.lit(_rgb(0.82, 0.28, 0.14), 0.6), x, 0.74, x + 0.26, 1.1)  # funnels
    for x in np.linspace(-1.05, 0.7, 7).tolist():
        ship.box(window, x, 0.4, x + 0.13, 0.5)
    ship.polygon(canvas.lit(hull, 0.6), (-2.0, 0.36), (2.0, 0.42), (1.6, 0.0), (-1.7, 0.0))


def paint_person(canvas: Canvas, u: float, v: float, size: float) -> None:
    """A walker seen from behind in mid-stride, with a rucksack; feet at (u, v), `size` (share of the picture) tall."""
    coat, pack = _pick(canvas, _CLOTHES), canvas.style.surfaces["wood"] * 0.9
    cast_shadow(canvas, u, v, 0.5 * size * ASPECT, 0.06 * size)
    person = _Sprite(canvas, "person", u, v, size)
    left, right = (0.25, 0.85) if canvas.style.light_side > 0 else (0.85, 0.25)
    trousers, skin = _rgb(0.20, 0.22, 0.30), _rgb(0.80, 0.60, 0.48)
    person.polygon(canvas.lit(trousers, left), (-0.15, 0.0), (-0.12, 0.5), (0.02, 0.5), (-0.05, 0.0))
    person.polygon(canvas.lit(trousers, right), (0.05, 0.02), (-0.02, 0.5), (0.12, 0.5), (0.16, 0.02))
    person.polygon(canvas.lit(coat, left), (-0.13, 0.8), (-0.22, 0.46), (-0.16, 0.42), (-0.06, 0.72))
    person.polygon(canvas.lit(coat, right), (0.13, 0.8), (0.22, 0.46), (0.16, 0.42), (0.06, 0.72))
    torso = [(-0.15, 0.42), (-0.14, 0.76), (-0.07, 0.83), (0.07, 0.83), (0.14, 0.76), (0.15, 0.42)]
    person.polygon(canvas.lit(coat, 0.7), *torso)
    person.polygon(canvas.lit(pack, 0.5), (-0.1, 0.5), (-0.09, 0.74), (0.09, 0.74), (0.1, 0.5))
    person.box(canvas.lit(skin, 0.5), -0.04, 0.8, 0.04, 0.86)
    angles = np.linspace(0.0, 2 * np.pi, 16, endpoint=False)
    head = zip((0.085 * np.cos(angles)).tolist(), (0.92 + 0.085 * np.sin(angles)).tolist())
    person.polygon(canvas.lit(_rgb(0.34, 0.22, 0.14), 0.7), *head)


def paint_balloon(canvas: Canvas, u: float, v: float, size: float) -> None:
    """A striped hot-air balloon in the sky, centred at (u, v): the class "other"."""
    colors = (_pick(canvas, _CLOTHES[:2]), _CLOTHES[2])
    angles = np.linspace(-np.pi, np.pi, 40)
    across, up = np.sin(angles) * (0.8 + 0.2 * np.cos(angles)), np.cos(angles)
    balloon = _Sprite(canvas, "other", u, v, size)
    for stripe, half in enumerate((1.0, 0.68, 0.34)):
        color = canvas.lit(colors[stripe % 2], 0.5 + 0.2 * stripe)
        balloon.polygon(color, *zip((half * across).tolist(), up.tolist()))
    balloon.box(canvas.lit("wood", 0.5), -0.18, -1.4, 0.18, -1.15)
