"""Sky, mountains, hills, ground and water of the synthetic landscapes: everything that spans the picture."""

from __future__ import annotations

import cv2
import numpy as np

from jiidm.data.synthetic.canvas import Canvas, mix, ramp, smoothstep

_Ground = tuple[np.ndarray, np.ndarray, np.ndarray]  # surface colour, shade, roughness, for some rows
# How far below the horizon sky, mountains and hills go on, under the ground painted over them.
_OVERLAP = 0.07


def paint_sky(canvas: Canvas) -> None:
    """Gradient, glow and disc of the sun or moon, stars at night, clouds lit from the sun's side."""
    style = canvas.style
    rows, alpha = canvas.band(canvas.level(0.0), canvas.horizon + _OVERLAP)
    height = np.clip(1.0 - canvas.v[rows] / canvas.horizon, 0.0, 1.0)
    distance = canvas.sun_distance[rows]
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
    shift = max(1, canvas.size.height // 40)
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
    where = (canvas.u + 0.22 * bend * np.sqrt(np.clip(below, 0, 1))) * canvas.size.width
    slope = _slope(profile / height, canvas.size.width)[np.clip(where, 0, canvas.size.width - 1).astype(np.int32)]
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
        facing = -style.light_side * np.tanh(_slope(profile, canvas.size.width) * 1.2)
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
    sunlit = smoothstep(-0.5, 0.4, canvas.noise((2, 9), 2)[rows])  # between the shadows of clouds
    color = canvas.lit(surface, np.clip(shade, 0.0, 1.0) * (0.6 + 0.5 * sunlit))
    canvas.put(alpha, canvas.through_air(color, canvas.distance_at(canvas.v[rows])), label, rows)


def _grass(canvas: Canvas, rows: slice) -> _Ground:
    patches = canvas.ground_noise(10, 3)[rows]
    tufts = canvas.ground_noise(64, 3, (190, 50), upright=True)[rows]
    blossoms = canvas.ground_noise(128, 1, (150, 150), upright=True)[rows]
    near = smoothstep(0.0, 0.3, canvas.nearness[rows])
    grass = canvas.style.surfaces["grass"]
    tone = np.clip(0.5 + 0.4 * patches + 0.25 * tufts + 0.25 * near, 0.0, 1.0)
    surface = mix(0.75 * grass + 0.25 * canvas.style.surfaces["land"], grass * 0.92, tone)  # paler far away
    if canvas.style.season in ("spring", "summer"):
        flowers = smoothstep(0.72, 0.8, blossoms + 0.35 * patches) * near
        surface = mix(surface, canvas.style.surfaces["flower"], flowers * 0.9)
    return surface, 0.66 + 0.2 * patches + 0.5 * tufts * near, patches + 0.4 * tufts


def _field(canvas: Canvas, rows: slice) -> _Ground:
    """Crop rows that run towards a vanishing point on the horizon."""
    vanishing = canvas.texture.uniform(-0.3, 1.3)
    near = canvas.nearness[rows] + 0.012
    across = (canvas.u - vanishing) / near
    fine = canvas.noise((90, 60), 2)[rows]
    # Furrows narrower than about three pixels would only flicker.
    visible = smoothstep(0.02, 0.10, near) * min(1.0, canvas.size.width / 160)
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
    clods, lumps = canvas.ground_noise(24, 3)[rows], canvas.ground_noise(40, 2, (150, 120), upright=True)[rows]
    cracks = smoothstep(0.16, 0.0, np.abs(clods)) * smoothstep(0.0, 0.3, canvas.nearness[rows])
    surface = canvas.toned("earth", 1.05 + 0.2 * clods + 0.15 * lumps - 0.2 * cracks)
    return surface, 0.6 + 0.25 * clods + 0.3 * lumps, clods


def _land(canvas: Canvas, rows: slice) -> _Ground:
    """Dry open land: pale soil with scattered tufts."""
    patches, tufts = canvas.ground_noise(8, 4)[rows], canvas.ground_noise(50, 2, (150, 130), upright=True)[rows]
    surface = canvas.toned("land", 1.0 + 0.2 * patches + 0.1 * tufts)
    growth = smoothstep(0.35, 0.6, tufts + 0.3 * patches) * smoothstep(0.0, 0.2, canvas.nearness[rows])
    surface = mix(surface, canvas.style.surfaces["grass"] * 0.7, growth * 0.8)
    return surface, 0.62 + 0.3 * patches, patches + tufts


# Per ground: its texture, and the share of the season's snow that it keeps.
_GROUNDS = {
    "grass": (_grass, 0.8),
    "field": (_field, 0.75),
    "sand": (_sand, 0.25),
    "earth": (_earth, 0.4),
    "land": (_land, 0.75),
}


def paint_water(canvas: Canvas, kind: str, edge: np.ndarray) -> None:
    """Water of a `kind` (water, lake, river, sea) from its far edge [W] down; mirrors what is above it."""
    rows, alpha = canvas.band(edge)
    canvas.put(alpha, water_color(canvas, kind, rows, float(edge.mean())), kind, rows)


_SHALLOWS = np.array([0.10, 0.44, 0.50], np.float32)  # light through the crest of a wave
# Per kind of water: height of its ripples, how much it mirrors.
_WATERS = {"lake": (0.35, 0.72), "water": (0.8, 0.5), "river": (1.0, 0.42), "sea": (1.6, 0.3)}


def water_color(canvas: Canvas, kind: str, rows: slice, shore: float) -> np.ndarray:
    """Colour of a water surface over `rows`; `shore` is the height v about which it mirrors."""
    style, near = canvas.style, canvas.nearness[rows]
    ripple_height, mirror = _WATERS[kind]
    ripples = 1.2 * canvas.ground_noise(32, 3, (45, 200), upright=True)[rows]
    mirrored = _mirrored(canvas, rows, shore, ripples * ripple_height)
    depth = canvas.lit(kind, 0.55 + 0.25 * ripples)
    fresnel = mirror * (1.0 - 0.45 * smoothstep(0.0, 0.5, near)) * (1.0 + 0.25 * ripples)
    color = mix(depth, mirrored * 0.94, np.clip(fresnel, 0.0, 0.9))
    column = np.exp(-(((canvas.u - style.sun_u) / (0.05 + 0.3 * near)) ** 2))  # under the sun
    glitter = column * (0.35 + smoothstep(-0.1, 0.7, ripples)) * (0.85 if style.elevation < 0.5 else 0.35)
    color = color + ramp(glitter, style.sun)
    if kind == "sea":
        color = _with_waves(canvas, color, rows, ripples)
    if kind == "river":
        color = mix(color, canvas.lit("snow", 0.8) * 0.9, 0.4 * smoothstep(0.55, 0.95, ripples))
    return canvas.through_air(color, 0.6 * canvas.distance_at(canvas.v[rows]))


def _mirrored(canvas: Canvas, rows: slice, shore: float, ripples: np.ndarray) -> np.ndarray:
    height, width = canvas.size
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


def _with_waves(canvas: Canvas, color: np.ndarray, rows: slice, ripples: np.ndarray) -> np.ndarray:
    """A swell that grows towards the viewer, light on its crests, with foam where it breaks."""
    near = canvas.nearness[rows]
    swell = canvas.ground_noise(20, 2, (22, 190), upright=True)[rows]
    height = swell + 0.3 * ripples
    color = color * (1.0 + 0.35 * height)[..., None]
    color = mix(color, canvas.lit(_SHALLOWS, 0.7), 0.25 * smoothstep(0.1, 0.9, height) * smoothstep(0.0, 0.3, near))
    breaking = smoothstep(0.5, 1.0, swell * (0.6 + 1.1 * np.abs(ripples))) * smoothstep(0.04, 0.2, near)
    return mix(color, canvas.lit("snow", 0.7), 0.5 * breaking)


def paint_surf(canvas: Canvas, edge: np.ndarray) -> None:
    """Foam and wet sand along a beach whose far edge is the curve [W]. Changes no label."""
    above = (edge - canvas.v) / (0.008 + 0.08 * np.maximum(edge - canvas.horizon, 0.0))
    swash, lace = canvas.noise((6, 5), 2), canvas.noise((36, 30), 2)
    above = above + 0.5 * swash
    foam = np.exp(-((above - 0.2) ** 2) * 9.0) * (0.75 + 0.4 * lace)
    foam = foam + np.exp(-((above - 1.5 - 0.4 * swash) ** 2) * 14.0) * smoothstep(0.0, 0.7, lace + swash)
    wet = smoothstep(-2.2, -1.2, above) * smoothstep(0.5, 0.0, above)
    canvas.image *= (1.0 - 0.3 * wet)[..., None]
    canvas.image[...] = mix(canvas.image, canvas.lit("snow", 0.6) * 0.9, 0.8 * np.clip(foam, 0.0, 1.0))
