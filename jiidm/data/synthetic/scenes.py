"""The scenes of the synthetic landscapes: which elements stand where. All draws come from the layout stream."""

from __future__ import annotations

import numpy as np

from jiidm.data.synthetic.canvas import Canvas
from jiidm.data.synthetic.nature import (
    Strip,
    paint_cliff,
    paint_plants,
    paint_rock,
    paint_strip,
    paint_tree,
    paint_treeline,
    paint_waterfall,
    scatter_rocks,
    scatter_trees,
)
from jiidm.data.synthetic.objects import (
    paint_balloon,
    paint_barrier,
    paint_boat,
    paint_bridge,
    paint_building,
    paint_house,
    paint_person,
    paint_pier,
    paint_ship,
    paint_wall,
)
from jiidm.data.synthetic.terrain import (
    ground_edge,
    paint_ground,
    paint_hills,
    paint_ridges,
    paint_sky,
    paint_surf,
    paint_water,
)


def paint_scene(canvas: Canvas) -> None:
    """Draw one of the scenes and paint it, back to front."""
    scene = _SCENES[canvas.layout.choice(len(_SCENES), p=_SCENE_ODDS)]
    paint_sky(canvas)
    scene(canvas)


def _alpine_lake(canvas: Canvas) -> None:
    _backdrop(canvas, mountains=1.0, hills=0.35)
    shore, near = (
        canvas.level(canvas.down(canvas.between(0.06, 0.14))),
        canvas.down(canvas.between(0.62, 0.85)),
    )
    paint_ground(canvas, "grass", ground_edge(canvas, canvas.horizon, 0.01))
    paint_treeline(canvas, shore - 0.004, canvas.between(0.05, 0.1), 70, conifer=True)
    paint_water(canvas, "lake", shore)
    if canvas.chance(0.3):
        paint_boat(canvas, canvas.between(0.2, 0.8), canvas.down(0.35), 0.09, sails=canvas.chance(0.5))
    ground = canvas.one_of("grass", "grass", "sand", "plant")
    _cover(canvas, ground, ground_edge(canvas, near, 0.03, canvas.between(-0.25, 0.25)))
    if canvas.chance(0.45):
        scatter_rocks(canvas, (6, 15), (near - 0.02, 1.02), 0.11)
    if canvas.chance(0.3):
        paint_pier(canvas, canvas.down(0.35), 0.4)
    elif canvas.chance(0.6):
        scatter_trees(canvas, canvas.chance(0.75), (1, 5), (canvas.down(0.8), 1.05), 0.7, margin=0.28)


def _coast(canvas: Canvas) -> None:
    _backdrop(canvas, mountains=0.3, hills=0.4)
    paint_water(canvas, "sea", canvas.level(canvas.horizon + 0.006))
    if canvas.chance(0.3):
        paint_ship(canvas, canvas.between(0.15, 0.85), canvas.down(0.06), canvas.between(0.03, 0.06))
    if canvas.chance(0.4):
        place = canvas.between(0.1, 0.3)
        paint_boat(canvas, canvas.between(0.15, 0.85), canvas.down(place), 0.06 + 0.25 * place, canvas.chance(0.75))
    near = canvas.down(canvas.between(0.45, 0.75))
    beach = ground_edge(canvas, near, 0.03, canvas.between(-0.5, 0.5), 3)
    paint_ground(canvas, "sand", beach)
    paint_surf(canvas, beach)
    if canvas.chance(0.3):
        paint_ground(canvas, "grass", ground_edge(canvas, canvas.down(0.9), 0.04, canvas.between(-0.6, 0.6)))
    extra = canvas.one_of("pier", "person", "railing", "plant", "rock")
    if extra == "pier":
        paint_pier(canvas, canvas.down(0.25), 0.45)
    elif extra == "person":
        paint_person(canvas, canvas.between(0.2, 0.8), max(near + 0.08, 0.88), 0.22)
    elif extra == "railing":
        paint_barrier(canvas, "railing", 1.02, 0.16)
    elif extra == "plant":
        paint_plants(canvas, ground_edge(canvas, 0.92, 0.04, canvas.between(-0.25, 0.25), 7))
    else:
        scatter_rocks(canvas, (5, 16), (near - 0.05, 1.0), 0.13)


def _farmland(canvas: Canvas) -> None:
    _backdrop(canvas, mountains=0.35, hills=0.9)
    paint_ground(canvas, "field", ground_edge(canvas, canvas.horizon + 0.01, 0.01))
    for share in (0.16, 0.38):
        edge = ground_edge(canvas, canvas.down(share), 0.01, canvas.between(-0.12, 0.12))
        if canvas.chance(0.7):
            paint_treeline(canvas, edge + 0.006, 0.05 + 0.1 * share, 45, conifer=False)
        paint_ground(canvas, canvas.one_of("field", "field", "grass", "grass", "land", "earth"), edge)
    way = _way(canvas) if canvas.chance(0.6) else None
    if canvas.chance(0.45):
        _house(canvas, canvas.between(0.15, 0.4), way)
    _foreground(canvas, way)


def _river_valley(canvas: Canvas) -> None:
    _backdrop(canvas, mountains=0.85, hills=0.7)
    ground = canvas.one_of("grass", "grass", "land", "field")
    paint_ground(canvas, ground, ground_edge(canvas, canvas.horizon + 0.005, 0.01))
    river, conifer = Strip(canvas, canvas.between(0.5, 0.9)), canvas.chance(0.6)
    paint_strip(canvas, river, "river", canvas.down(0.04))
    paint_treeline(canvas, ground_edge(canvas, canvas.down(0.07), 0.008), 0.07, 50, conifer)
    if canvas.chance(0.4):
        paint_bridge(canvas, river, canvas.down(canvas.between(0.3, 0.5)), canvas.between(0.08, 0.13))
    if canvas.chance(0.5):
        scatter_rocks(canvas, (4, 14), (canvas.down(0.3), 1.0), 0.09)
    scatter_trees(canvas, conifer, (2, 9), (canvas.down(0.12), canvas.down(0.8)), 0.55, 0.35, river)
    if canvas.chance(0.35):
        paint_plants(canvas, ground_edge(canvas, 0.9, 0.05, 0.15, 7))


def _waterfall(canvas: Canvas) -> None:
    _backdrop(canvas, mountains=0.5, hills=0.0)
    foot = canvas.down(canvas.between(0.2, 0.35))
    cliff = canvas.horizon - canvas.between(0.08, 0.2) + 0.07 * canvas.curve(4, 4)
    paint_cliff(canvas, cliff, foot)
    paint_treeline(canvas, cliff + 0.012, 0.13, 40, conifer=canvas.chance(0.6))
    u = canvas.between(0.3, 0.7)
    lip = float(np.interp(u, canvas.u[0], cliff)) + 0.03
    paint_waterfall(canvas, u, lip, foot, canvas.between(0.08, 0.2))
    paint_water(canvas, canvas.one_of("water", "river"), canvas.level(foot))
    if canvas.chance(0.6):
        edge = ground_edge(canvas, canvas.down(canvas.between(0.7, 0.85)), 0.05, canvas.between(-0.4, 0.4))
        _cover(canvas, canvas.one_of("grass", "plant", "earth"), edge)
    scatter_rocks(canvas, (6, 16), (foot + 0.02, 1.02), 0.12)


def _desert(canvas: Canvas) -> None:
    _backdrop(canvas, mountains=0.9, hills=0.2)
    paint_ground(canvas, canvas.one_of("land", "sand"), ground_edge(canvas, canvas.horizon + 0.005, 0.012))
    for share in (0.25, 0.55):
        edge = ground_edge(canvas, canvas.down(share), 0.04, canvas.between(-0.15, 0.15))
        paint_ground(canvas, canvas.one_of("sand", "earth", "land"), edge)
    if canvas.chance(0.5):
        _way(canvas)
    scatter_rocks(canvas, (2, 12), (canvas.down(0.1), 1.0), 0.12)
    if canvas.chance(0.35):
        paint_plants(canvas, ground_edge(canvas, 0.93, 0.05, 0.2, 7))
    if canvas.chance(0.2):
        paint_person(canvas, canvas.between(0.2, 0.8), 0.92, 0.22)


def _village(canvas: Canvas) -> None:
    _backdrop(canvas, mountains=0.5, hills=0.9)
    paint_ground(canvas, "grass", ground_edge(canvas, canvas.horizon + 0.005, 0.012))
    paint_treeline(canvas, ground_edge(canvas, canvas.down(0.07), 0.008), 0.07, 40, canvas.chance(0.3))
    way = _way(canvas, top=0.09)
    if canvas.chance(0.6):
        paint_building(canvas, canvas.between(0.3, 0.7), canvas.down(0.12), canvas.between(0.2, 0.32))
    for share in np.sort(canvas.layout.uniform(0.12, 0.42, canvas.layout.integers(1, 4))):
        _house(canvas, float(share), way)
    _foreground(canvas, way)


def _pond_meadow(canvas: Canvas) -> None:
    _backdrop(canvas, mountains=0.6, hills=0.8)
    paint_ground(canvas, "grass", ground_edge(canvas, canvas.horizon + 0.005, 0.01))
    conifer = canvas.chance(0.4)
    for share in (0.05, 0.13):
        paint_treeline(canvas, ground_edge(canvas, canvas.down(share), 0.006), 0.08 + 0.3 * share, 60, conifer)
    paint_water(canvas, "water", ground_edge(canvas, canvas.down(0.28), 0.006))
    edge = ground_edge(canvas, canvas.down(canvas.between(0.5, 0.65)), 0.03, canvas.between(-0.4, 0.4))
    _cover(canvas, canvas.one_of("grass", "grass", "grass", "earth", "plant"), edge)
    if canvas.chance(0.4):
        paint_rock(canvas, canvas.between(0.1, 0.9), 0.93, canvas.between(0.05, 0.1))
    if canvas.chance(0.6):
        side = 0.12 if canvas.chance(0.5) else 0.88
        paint_tree(canvas, side, 0.97, canvas.between(0.6, 0.85), conifer)
    _foreground(canvas)


_SCENES = (_alpine_lake, _coast, _farmland, _river_valley, _waterfall, _desert, _village, _pond_meadow)
_SCENE_ODDS = (0.18, 0.17, 0.14, 0.15, 0.08, 0.08, 0.11, 0.09)


def _cover(canvas: Canvas, label: str, edge: np.ndarray) -> None:
    """A near bank from its far edge [W] to the lower edge of the picture: bushes or bare ground."""
    if label == "plant":
        paint_plants(canvas, edge)
    else:
        paint_ground(canvas, label, edge)


def _backdrop(canvas: Canvas, mountains: float, hills: float) -> None:
    """Now and then a balloon, then mountains and hills with the odds given."""
    if canvas.chance(0.07):
        paint_balloon(canvas, canvas.between(0.1, 0.9), canvas.between(0.12, 0.24), canvas.between(0.05, 0.09))
    if canvas.chance(mountains):
        paint_ridges(canvas, int(canvas.layout.integers(1, 4)), canvas.between(0.22, 0.38))
    if canvas.chance(hills):
        paint_hills(canvas, int(canvas.layout.integers(1, 3)), canvas.between(0.08, 0.17))


def _way(canvas: Canvas, top: float = 0.04) -> Strip:
    """A road or a path up to `top` (share of the way from horizon to lower edge); returns its course."""
    strip = Strip(canvas, canvas.between(0.28, 0.52))
    paint_strip(canvas, strip, canvas.one_of("road", "path"), canvas.down(top))
    return strip


def _house(canvas: Canvas, share: float, way: Strip | None) -> None:
    """A house beside the way, `share` of the way from horizon to lower edge."""
    u, v, height = canvas.between(0.12, 0.88), canvas.down(share), 0.06 + 0.28 * share
    paint_house(canvas, u if way is None else way.beside(u, v, 0.8 * height), v, height)


def _foreground(canvas: Canvas, way: Strip | None = None) -> None:
    """What stands between the viewer and the country: trees, then a fence, a wall, plants or a walker."""
    conifer = canvas.chance(0.3)
    if canvas.chance(0.5):
        scatter_trees(canvas, conifer, (2, 7), (canvas.down(0.15), canvas.down(0.75)), 0.6, 0.38, way)
    extra = canvas.one_of("fence", "fence", "wall", "plant", "person", "", "")
    if extra == "fence":
        paint_barrier(canvas, "fence", canvas.between(0.92, 0.99), canvas.between(0.13, 0.2))
    elif extra == "wall":
        paint_wall(canvas, canvas.between(0.95, 1.03), canvas.between(0.11, 0.16))
    elif extra == "plant":
        paint_plants(canvas, ground_edge(canvas, canvas.between(0.84, 0.92), 0.05, 0.1, 7))
    elif extra == "person":
        paint_person(canvas, canvas.between(0.2, 0.8), 0.95, 0.22)
