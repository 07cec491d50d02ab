"""The style of a synthetic landscape: time of day, season and weather as light, air and surface colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Colours are RGB in [0, 1]. Per time of day: sky overhead, sky at the horizon, direct light, light from the
# sky, height of the sun above the horizon (share of the sky), mean brightness the exposure aims at.
_TIMES = {
    "dawn": ((0.46, 0.50, 0.72), (1.00, 0.76, 0.70), (0.85, 0.55, 0.46), (0.46, 0.42, 0.54), 0.18, 0.50),
    "noon": ((0.16, 0.42, 0.82), (0.70, 0.86, 0.97), (0.80, 0.77, 0.69), (0.40, 0.45, 0.52), 0.85, 0.52),
    "golden": ((0.40, 0.56, 0.74), (1.00, 0.84, 0.52), (1.00, 0.72, 0.36), (0.40, 0.35, 0.36), 0.30, 0.48),
    "dusk": ((0.20, 0.15, 0.42), (1.00, 0.50, 0.32), (0.66, 0.36, 0.30), (0.36, 0.31, 0.46), 0.08, 0.34),
    "night": ((0.03, 0.07, 0.24), (0.16, 0.30, 0.58), (0.26, 0.38, 0.58), (0.13, 0.20, 0.38), 0.70, 0.27),
}
_TIME_ODDS = (0.17, 0.33, 0.2, 0.17, 0.13)

# Surface colours (albedo) that every season shares, by material.
_SURFACES = {
    "mountain": (0.44, 0.40, 0.39),
    "rock": (0.50, 0.48, 0.47),
    "sand": (0.88, 0.76, 0.54),
    "earth": (0.43, 0.31, 0.22),
    "road": (0.33, 0.33, 0.35),
    "path": (0.74, 0.62, 0.45),
    "wall": (0.62, 0.57, 0.52),
    "wood": (0.45, 0.34, 0.25),
    "water": (0.17, 0.30, 0.30),
    "lake": (0.07, 0.28, 0.36),
    "river": (0.22, 0.50, 0.52),
    "sea": (0.04, 0.20, 0.40),
    "snow": (0.93, 0.95, 0.99),
}
# Per season: grass, broad-leaved crowns (two tones), conifers, crops, low plants, blossoms, dry land, hills.
_SEASON_SURFACES = ("grass", "leaf", "leaf2", "conifer", "field", "plant", "flower", "land", "hill")
_SEASONS = {
    "spring": (
        (0.44, 0.59, 0.25), (0.35, 0.52, 0.20), (0.86, 0.66, 0.72), (0.14, 0.29, 0.18), (0.56, 0.66, 0.22),
        (0.25, 0.45, 0.23), (0.96, 0.80, 0.90), (0.62, 0.57, 0.38), (0.40, 0.53, 0.27),
    ),
    "summer": (
        (0.37, 0.52, 0.19), (0.15, 0.37, 0.10), (0.24, 0.44, 0.12), (0.08, 0.26, 0.14), (0.84, 0.68, 0.24),
        (0.17, 0.37, 0.17), (0.90, 0.30, 0.36), (0.66, 0.56, 0.37), (0.34, 0.48, 0.20),
    ),
    "autumn": (
        (0.58, 0.52, 0.20), (0.82, 0.36, 0.08), (0.86, 0.60, 0.12), (0.16, 0.26, 0.14), (0.62, 0.44, 0.24),
        (0.46, 0.34, 0.16), (0.78, 0.20, 0.14), (0.60, 0.46, 0.30), (0.60, 0.45, 0.20),
    ),
    "winter": (
        (0.52, 0.50, 0.38), (0.40, 0.33, 0.30), (0.52, 0.45, 0.42), (0.13, 0.23, 0.20), (0.46, 0.36, 0.28),
        (0.27, 0.37, 0.23), (0.66, 0.56, 0.56), (0.58, 0.53, 0.46), (0.50, 0.48, 0.44),
    ),
}  # fmt: skip
_SEASON_ODDS = (0.23, 0.29, 0.26, 0.22)
_WEATHERS = ("clear", "cloudy", "overcast", "mist")
_WEATHER_ODDS = (0.36, 0.34, 0.17, 0.13)


@dataclass(frozen=True)
class Style:
    """Everything about a picture that its mask doesn't show. Colours are float32 RGB in [0, 1]."""

    time: str
    season: str
    weather: str
    zenith: np.ndarray
    horizon: np.ndarray
    sun: np.ndarray
    ambient: np.ndarray
    sun_u: float  # where the sun stands, as a share of the width
    elevation: float  # its height above the horizon, as a share of the sky
    cloud_cover: float
    haze: float  # density of the air
    snow: float  # share of the open ground that is white
    snow_line: float  # altitude (0 foot, 1 highest peak) above which mountains are white
    key: float  # mean brightness the exposure aims at
    saturation: float
    surfaces: dict[str, np.ndarray]

    @property
    def light_side(self) -> float:
        """-1 where the light comes from the left, +1 from the right."""
        return 1.0 if self.sun_u >= 0.5 else -1.0


def draw_style(rng: np.random.Generator) -> Style:
    """Draw time of day, season and weather, then vary every colour a little."""
    time = str(rng.choice(list(_TIMES), p=_TIME_ODDS))
    season = str(rng.choice(list(_SEASONS), p=_SEASON_ODDS))
    weather = str(rng.choice(_WEATHERS, p=_WEATHER_ODDS))
    zenith, horizon, sun, ambient = (_vary(rng, color, 0.05) for color in _TIMES[time][:4])
    elevation, key = _TIMES[time][4:]
    saturation = 1.05
    if weather in ("overcast", "mist"):
        brightness = float(horizon.mean())
        zenith = _greyer(zenith, 0.75, 0.85 * brightness, ambient)
        horizon = _greyer(horizon, 0.6, 1.05 * brightness, ambient)
        ambient = _greyer(ambient, 0.7, float(ambient.mean()), ambient) * 1.15
        sun = sun * (0.4 if weather == "overcast" else 0.5)
        saturation = 1.0
    surfaces = {**_SURFACES, **dict(zip(_SEASON_SURFACES, _SEASONS[season]))}
    return Style(
        time=time,
        season=season,
        weather=weather,
        zenith=zenith,
        horizon=horizon,
        sun=sun,
        ambient=ambient,
        sun_u=float(rng.choice([rng.uniform(0.08, 0.4), rng.uniform(0.6, 0.92)])),
        elevation=elevation * float(rng.uniform(0.85, 1.15)),
        cloud_cover={"clear": 0.12, "cloudy": 0.5, "overcast": 0.95, "mist": 0.3}[weather],
        haze={"clear": 0.13, "cloudy": 0.17, "overcast": 0.22, "mist": 0.62}[weather],
        snow=float(rng.uniform(0.6, 0.95)) if season == "winter" else 0.0,
        snow_line={"spring": 0.62, "summer": 0.85, "autumn": 0.72, "winter": 0.15}[season],
        key=key * {"clear": 1.0, "cloudy": 0.98, "overcast": 1.03, "mist": 1.18}[weather],
        saturation=saturation * float(rng.uniform(0.93, 1.1)),
        surfaces={name: _vary(rng, color, 0.06) for name, color in surfaces.items()},
    )


def _vary(rng: np.random.Generator, color: tuple[float, ...], amount: float) -> np.ndarray:
    scaled = np.array(color) * (1 + amount * rng.standard_normal() * 0.7)
    return np.clip(scaled + amount * 0.35 * rng.standard_normal(3), 0.01, 1.0).astype(np.float32)


def _greyer(color: np.ndarray, amount: float, brightness: float, ambient: np.ndarray) -> np.ndarray:
    """Move a colour towards a grey of this brightness that keeps a third of the tint of the light from the sky."""
    tint = 0.7 * np.array([0.95, 1.0, 1.05], np.float32) + 0.3 * ambient / ambient.mean()
    return color + (brightness * tint - color) * amount
