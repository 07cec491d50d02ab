"""Sky, mountains, hills, ground and water of the synthetic landscapes: everything that spans the picture."""

from __future__ import annotations

import cv2
import numpy as np

from jiidm.synthetic_canvas import Canvas, mix, ramp, smoothstep

_Ground = tuple[np.ndarray, np.ndarray, np.ndarray]  # surface colour, shade, roughness, for some rows
# How far below the horizon sky, mountains and hills go on, under the ground painted over them.
_OVERLAP = 0.07


def paint_sky(canvas: Canvas) -> None:
    """Gradient, glow and disc of the sun or moon, stars at night, clouds lit from the sun's side."""
    style = canvas.style
    rows, alpha = canvas.band(canvas.level(0.0), canvas.horizon + _OVERLAP)
    height = np.clip(1.0 - canvas.v[rows] / canvas.horizon, 0.0, 1.0)
    sun_v = canvas.horizon * (1.0 - style.elevation * 0.8)
    distance = np.sqrt((canvas.u - style.sun_u) ** 2 * 1.78 + (canvas.v[rows] - sun_v) ** 2)
    veiled = 0.25 if style.weather == "overcast" else 1.0
    glow = ramp(np.exp(-6.0 * distance), 0.7 * veiled * style.sun)
    sky = mix(style.horizon, style.zenith, height**0.75) + glow
    stars, fields = canvas.noise((256, 192), 1)[rows], canvas.noise((9, 9), 2)[rows]
    if style.time == "night":
        stars = smoothstep(0.86, 0.9, stars) * smoothstep(-0.1, 0.3, fields) * smoothstep(0.0, 0.5, height)
        sky += (0.8 * veiled * stars)[..., None]
    sky = _add_clouds(canvas, sky, rows, distance)
    disc = smoothstep(-0.034, -0.028, -distance) * veiled * veiled
    sky = mix(sky, np.array([1.0, 0.98, 0.92], np.float32) * (0.7 + 0.8 * style.sun), disc)
    canvas.put(alpha, sky, "sky", rows)


def _add_clouds(canvas: Canvas, sky: np.ndarray, rows: slice, sun_distance: np.ndarray) -> np.ndarray:
    style = canvas.style
    billow = (canvas.noise((4, 5), 6, 0.52) + 0.35 * canvas.noise((2, 9), 3))[rows]
    threshold = 0.75 - 1.35 * style.cloud_cover
    near = smoothstep(-0.02, 0.3, 1.0 - canvas.v[rows] / canvas.horizon)
    cover = smoothstep(threshold, threshold + 0.55, billow) * (0.35 + 0.6 * near)
    shift = max(1, canvas.size[1] // 40)
    above = np.pad(billow, ((shift, 0), (0, 0)), mode="edge")[:-shift]
    relief = np.clip((billow - above) * 0.9 + 0.5, 0.0, 1.0)
    bright = ramp(0.62 + 0.5 * np.exp(-3.0 * sun_distance), style.sun, 1.2 * style.ambient)
    dark = style.ambient * 1.05 + style.horizon * 0.24
    return mix(sky, mix(dark, bright, relief * (0.6 if style.weather == "overcast" else 1.0)), cover)


def paint_ridges(canvas: Canvas, count: int, height: float) -> None:
    """`count` mountain ridges, the farthest and highest (`height`, share of the picture) first."""
    for layer in range(count):
        share = layer / max(count - 1, 1)
        _paint_ridge(canvas, height * (1.0 - 0.5 * share), distance=3.4 - 1.9 * share, highest=height)


def _paint_ridge(canvas: Canvas, height: float, distance: float, highest: float) -> None:
    style, base = canvas.style, canvas.horizon
    folded = 1.0 - 1.5 * np.abs(canvas.curve(int(canvas.layout.integers(4, 7)), 6, 0.48))
    envelope = 0.72 + 0.4 * canvas.curve(3, 1)
    profile = height * np.clip(envelope * (0.42 + 0.58 * folded), 0.2, 1.05)
    rows, alpha = canvas.band(base - profile, base + _OVERLAP)
    below = (canvas.v[rows] - (base - profile)) / height  # 0 on the ridge line, 1 at the foot of a peak
    bend = canvas.noise((5, 6), 5, 0.55)[rows]
    # Spurs run down from the peaks: each point looks up the slope of the ridge line beside it.
    where = (canvas.u + 0.22 * bend * np.sqrt(np.clip(below, 0, 1))) * canvas.size[0]
    slope = _slope(profile / height, canvas.size[0])[np.clip(where, 0, canvas.size[0] - 1).astype(np.int32)]
    crags = _relief(canvas.noise((16, 14), 5, 0.6))[rows]
    # On the left flank of a peak the profile rises to the right, so it faces light from the left.
    facing = -style.light_side * (np.tanh(slope * 0.32) * 0.9 + 0.9 * crags)
    shade = np.clip(0.42 + 0.55 * facing, 0.0, 1.0)
    altitude = (base - canvas.v[rows]) / highest
    roughness = canvas.noise((14, 10), 4)[rows]
    rock = canvas.toned("mountain", 1.0 + 0.22 * roughness)
    wooded = smoothstep(0.5, 0.1, altitude + 0.2 * roughness) * (0.75 - 0.12 * distance)
    surface = mix(rock, 0.5 * (style.surfaces["conifer"] + style.surfaces["hill"]), wooded)
    line = style.snow_line * 0.9
    snow = smoothstep(line - 0.04, line + 0.1, altitude + 0.16 * roughness - 0.1 * np.abs(crags))
    surface = mix(surface, style.surfaces["snow"], snow * 0.95)
    low_air = distance * (0.75 + 0.7 * smoothstep(0.35, 0.0, altitude))
    canvas.put(alpha, canvas.through_air(canvas.lit(surface, shade), low_air), "mountain", rows)


def _slope(profile: np.ndarray, width: int) -> np.ndarray:
    """Derivative of a profile [W] along u, smoothed over 1.5 % of the width."""
    sigma = max(0.015 * width, 0.6)
    smooth = cv2.GaussianBlur(profile[None, :], (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.gradient(smooth[0]).astype(np.float32) * width


def _relief(height: np.ndarray) -> np.ndarray:
    """Slope of a noise field to the right, about [-1, 1] whatever the size of the picture."""
    slope = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3)
    return slope * (0.5 / (slope.std() + 1e-6))


def paint_hills(canvas: Canvas, count: int, height: float) -> None:
    """`count` rounded, meadowed hills, the farthest first."""
    style = canvas.style
    for layer in range(count):
        share = (layer + 1) / count
        swell = 0.55 + 0.55 * canvas.curve(int(canvas.layout.integers(2, 4)), 2, 0.35)
        profile = height * (1.15 - 0.5 * share) * np.clip(swell, 0.08, 1.1)
        rows, alpha = canvas.band(canvas.horizon + 0.01 - profile, canvas.horizon + _OVERLAP)
        patches = canvas.noise((7, 14), 4)[rows]
        speckle = canvas.noise((60, 60), 2)[rows]
        below = np.clip((canvas.v[rows] - canvas.horizon - 0.01 + profile) / height, 0, 1)
        facing = -style.light_side * np.tanh(_slope(profile, canvas.size[0]) * 1.2)
        shade = np.clip(0.6 + 0.4 * facing * (1 - 0.5 * below) + 0.22 * patches - 0.25 * below, 0.0, 1.0)
        surface = canvas.toned("hill", 1.0 + 0.14 * speckle)
        copses = smoothstep(0.28, 0.42, patches + 0.45 * speckle)
        surface = canvas.snowed(surface, _snow_cover(canvas, 0.8, speckle + patches))
        surface = mix(surface, style.surfaces["leaf"] * 0.75, copses * 0.85)
        canvas.put(alpha, canvas.through_air(canvas.lit(surface, shade), 2.2 - 1.1 * share), "hill", rows)


def _snow_cover(canvas: Canvas, kept: float, roughness: np.ndarray) -> np.ndarray:
    """How much snow lies on a ground that keeps the share `kept`; thin where `roughness` (-1 to 1) is high."""
    return kept * smoothstep(-0.9, 0.5, 2.2 * kept * canvas.style.snow - 1.25 - roughness)


def ground_edge(canvas: Canvas, v: float, wobble: float, tilt: float = 0.0, knots: int = 4) -> np.ndarray:
    """The far edge of a ground: a curve [W] around height v, never above the horizon."""
    edge = v + wobble * canvas.curve(knots, 4) + tilt * (canvas.u[0] - 0.5)
    return np.maximum(edge, canvas.horizon + 0.004)


def paint_ground(canvas: Canvas, label: str, edge: np.ndarray) -> None:
    """A ground from its far edge [W] to the lower edge of the picture, in perspective."""
    rows, alpha = canvas.band(edge)
    texture, kept = _GROUNDS[label]
    surface, shade, roughness = texture(canvas, rows)
    surface = canvas.snowed(surface, _snow_cover(canvas, kept, roughness))
    color = canvas.lit(surface, np.clip(shade, 0.0, 1.0))
    canvas.put(alpha, canvas.through_air(color, canvas.distance_at(canvas.v[rows])), label, rows)


def _grass(canvas: Canvas, rows: slice) -> _Ground:
    patches, blades = canvas.ground_noise(10, 4)[rows], canvas.noise((110, 34), 2, 0.8)[rows]
    near = smoothstep(0.02, 0.35, canvas.nearness[rows])
    blades = blades * near
    surface = canvas.toned("grass", 1.0 + 0.3 * patches + 0.3 * blades)
    flowers = smoothstep(0.98, 1.12, canvas.noise((70, 52), 2, 0.9)[rows] + 0.5 * patches) * near
    if canvas.style.season in ("spring", "summer"):
        surface = mix(surface, canvas.style.surfaces["flower"], flowers * 0.9)
    return surface, 0.62 + 0.35 * patches + 0.35 * blades, patches + 0.9 * blades


def _field(canvas: Canvas, rows: slice) -> _Ground:
    """Crop rows that run towards a vanishing point on the horizon."""
    vanishing = canvas.texture.uniform(-0.3, 1.3)
    near = canvas.nearness[rows] + 0.012
    across = (canvas.u - vanishing) / near
    fine = canvas.noise((90, 60), 2)[rows]
    # Furrows narrower than about three pixels would only flicker.
    visible = smoothstep(0.02, 0.10, near) * min(1.0, canvas.size[0] / 160)
    furrow = np.sin(across * 26 + 0.5 * fine) * visible
    patches = canvas.ground_noise(6, 3)[rows]
    surface = mix(
        canvas.toned("field", 1.0 + 0.16 * patches + 0.14 * fine),
        canvas.style.surfaces["earth"],
        smoothstep(0.1, 0.95, -furrow) * 0.6,
    )
    return surface, 0.68 + 0.25 * furrow + 0.1 * patches, -0.7 * furrow + 0.5 * fine


def _sand(canvas: Canvas, rows: slice) -> _Ground:
    dunes, grains = canvas.ground_noise(4, 3)[rows], canvas.noise((128, 96), 2)[rows]
    near = canvas.nearness[rows]
    ripple = np.sin(1.0 / (near + 0.05) * 22 + 7.0 * dunes + 9.0 * canvas.u) * smoothstep(0.04, 0.3, near)
    surface = canvas.toned("sand", 1.0 + 0.05 * grains + 0.06 * dunes)
    return surface, 0.72 + 0.3 * dunes + 0.09 * ripple, dunes + grains


def _earth(canvas: Canvas, rows: slice) -> _Ground:
    clods, lumps = canvas.ground_noise(40, 4)[rows], canvas.noise((44, 44), 3, 0.7)[rows]
    near = smoothstep(0.0, 0.3, canvas.nearness[rows])
    cracks = smoothstep(0.16, 0.0, np.abs(clods)) * near
    lumps = lumps * near
    surface = canvas.toned("earth", 1.0 + 0.25 * clods + 0.15 * lumps - 0.3 * cracks)
    return surface, 0.58 + 0.3 * clods + 0.22 * lumps, clods


def _land(canvas: Canvas, rows: slice) -> _Ground:
    """Dry open land: pale soil with scattered tufts."""
    patches, tufts = canvas.ground_noise(8, 4)[rows], canvas.noise((110, 90), 2, 0.8)[rows]
    surface = canvas.toned("land", 1.0 + 0.2 * patches)
    growth = smoothstep(0.6, 0.9, tufts + 0.3 * patches) * smoothstep(0.0, 0.2, canvas.nearness[rows])
    surface = mix(surface, canvas.style.surfaces["grass"] * 0.75, growth * 0.75)
    return surface, 0.62 + 0.3 * patches, patches + tufts


def _plant(canvas: Canvas, rows: slice) -> _Ground:
    """Dense low plants: lit leaf clumps over dark gaps, with blossoms."""
    clumps, leaves = canvas.noise((26, 24), 3, 0.6)[rows], canvas.noise((80, 70), 2, 0.8)[rows]
    depth = 0.55 * clumps + 0.55 * leaves
    surface = canvas.toned("plant", 0.95 + 0.4 * depth)
    blossoms = smoothstep(0.75, 0.95, leaves + 0.25 * clumps)
    surface = mix(surface, canvas.style.surfaces["flower"], 0.9 * blossoms)
    return surface, 0.48 + 0.5 * depth, -0.7 * depth


# Per ground: its texture, and the share of the season's snow that it keeps.
_GROUNDS = {
    "grass": (_grass, 0.8),
    "field": (_field, 0.75),
    "sand": (_sand, 0.25),
    "earth": (_earth, 0.4),
    "land": (_land, 0.75),
    "plant": (_plant, 0.35),
}


def paint_water(canvas: Canvas, kind: str, edge: np.ndarray) -> None:
    """Water of a `kind` (water, lake, river, sea) from its far edge [W] down; mirrors what is above it."""
    rows, alpha = canvas.band(edge)
    canvas.put(alpha, water_color(canvas, kind, rows, float(edge.mean())), kind, rows)


# Per kind of water: height of its ripples, how much it mirrors.
_WATERS = {"lake": (0.35, 0.72), "water": (0.8, 0.5), "river": (1.0, 0.42), "sea": (1.6, 0.3)}


def water_color(canvas: Canvas, kind: str, rows: slice, shore: float) -> np.ndarray:
    """Colour of a water surface over `rows`; `shore` is the height v about which it mirrors."""
    style, near = canvas.style, canvas.nearness[rows]
    ripple_height, mirror = _WATERS[kind]
    ripples = canvas.noise((10, 90), 3, 0.6)[rows] * smoothstep(-0.05, 0.3, near)
    ripples = ripples + 0.6 * canvas.ground_noise(24, 3)[rows]
    mirrored = _mirrored(canvas, rows, shore, ripples * ripple_height)
    depth = canvas.lit(kind, 0.55 + 0.25 * ripples)
    fresnel = mirror * (1.0 - 0.45 * smoothstep(0.0, 0.5, near)) * (1.0 + 0.25 * ripples)
    color = mix(depth, mirrored * 0.94, np.clip(fresnel, 0.0, 0.9))
    column = np.exp(-(((canvas.u - style.sun_u) / (0.03 + 0.22 * near)) ** 2))  # under the sun
    glitter = column * smoothstep(0.15, 0.75, ripples) * (0.8 if style.elevation < 0.5 else 0.35)
    color = color + ramp(glitter, style.sun)
    if kind == "sea":
        color = _with_waves(canvas, color, rows)
    if kind == "river":
        streaks = smoothstep(0.45, 0.8, canvas.noise((16, 60), 3, 0.7)[rows])
        color = mix(color, canvas.lit("snow", 0.8) * 0.9, streaks * 0.45)
    return canvas.through_air(color, 0.6 * canvas.distance_at(canvas.v[rows]))


def _mirrored(canvas: Canvas, rows: slice, shore: float, ripples: np.ndarray) -> np.ndarray:
    width, height = canvas.size
    away = canvas.v[rows] - shore
    source_v = shore - np.abs(away) * 1.05 - 0.004 + ripples * (0.012 + 0.05 * np.maximum(away, 0))
    source_u = canvas.u + ripples * (0.004 + 0.02 * np.maximum(away, 0))
    return cv2.remap(
        canvas.image,
        (source_u * width - 0.5).astype(np.float32),
        (np.minimum(source_v, shore) * height - 0.5).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _with_waves(canvas: Canvas, color: np.ndarray, rows: slice) -> np.ndarray:
    """Rows of waves that grow towards the viewer, with foam on their crests."""
    near = canvas.nearness[rows]
    swing = canvas.noise((3, 20), 4)[rows]
    phase = 28.8 * np.log(near + 0.035) + 4.5 * swing
    crest = np.sin(phase)
    breaking = smoothstep(0.05, 0.5, canvas.noise((6, 24), 4, 0.6)[rows])
    color = color * (1.0 + 0.16 * crest * smoothstep(0.0, 0.12, near))[..., None]
    foam = smoothstep(0.72, 0.98, crest) * breaking * smoothstep(0.01, 0.1, near)
    return mix(color, canvas.lit("snow", 0.75), foam * 0.85)
