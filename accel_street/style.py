"""What is drawn once per drive: the street's layout, its density of things, season and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

Bgr = tuple[float, float, float]


@dataclass(frozen=True)
class Style:
    """A street's character. Lengths in metres, shares in 0..1, left offsets positive."""

    drive_side: int
    """+1: traffic keeps left, -1: right."""
    lanes: int
    """Lanes per direction."""
    lane_m: float
    parking: tuple[bool, bool]
    """Whether cars park on the left, on the right."""
    pavement_m: float
    zones: tuple[float, float, float]
    """Shares of shops, houses and parkland."""
    height: float
    """Factor on the buildings' storeys."""
    parked: float
    traffic_gap_m: float
    walker_gap_m: float
    cyclist_gap_m: float
    tree_gap_m: float
    fence: float
    bare: float
    """Share of trees without leaves."""
    foliage: Bgr
    yellow_lines: bool
    asphalt: int
    asphalt_tint: Bgr
    paving: int
    paving_tint: Bgr

    @property
    def half_m(self) -> float:
        """Centre line to kerb, the same on both sides."""
        return self.lanes * self.lane_m + 2.2 * max(self.parking)

    def lane_d(self, direction: int, lane: int) -> float:
        """Left offset of a lane: ``direction`` +1 goes our way; lane 0 is the innermost."""
        return self.drive_side * direction * (lane + 0.5) * self.lane_m


def draw_style(rng: Generator) -> Style:
    """A random street."""
    tint = rng.uniform(0.62, 0.95)
    warm = rng.uniform(0.93, 1.07)
    paving = rng.uniform(0.85, 1.3)
    autumn = rng.uniform(0.0, 1.0) ** 3
    green = rng.uniform(0.42, 0.85)
    return Style(
        drive_side=1 if rng.random() < 0.6 else -1,
        lanes=2 if rng.random() < 0.25 else 1,
        lane_m=rng.uniform(3.1, 4.0),
        parking=(bool(rng.random() < 0.45), bool(rng.random() < 0.45)),
        pavement_m=rng.uniform(1.6, 3.6),
        zones=tuple(rng.dirichlet((1.9, 1.5, 0.7))),
        height=rng.uniform(0.9, 1.35),
        parked=rng.uniform(0.3, 0.95),
        traffic_gap_m=float(np.exp(rng.uniform(np.log(16), np.log(70)))),
        walker_gap_m=float(np.exp(rng.uniform(np.log(14), np.log(90)))),
        cyclist_gap_m=float(np.exp(rng.uniform(np.log(30), np.log(160)))),
        tree_gap_m=float(np.exp(rng.uniform(np.log(9), np.log(50)))),
        fence=rng.uniform(0.05, 0.5),
        bare=float(rng.choice((0.0, 0.15, 0.85, 1.0))),
        foliage=(green * 0.75, green, green * (0.8 + 0.6 * autumn)),
        yellow_lines=bool(rng.random() < 0.4),
        asphalt=int(rng.integers(3)),
        asphalt_tint=(tint / warm, tint, tint * warm),
        paving=int(rng.integers(2)),
        paving_tint=(paving * 0.96, paving, paving * rng.uniform(0.98, 1.08)),
    )


@dataclass(frozen=True)
class Light:
    """Weather and time of day; colours are BGR factors on the painted surfaces."""

    sun: np.ndarray
    """Unit vector towards the sun, world axes."""
    direct: np.ndarray
    ambient: np.ndarray
    shadow: float
    """Share of light that a shadow takes from the ground."""
    sky: np.ndarray
    clouds: int
    haze: np.ndarray
    """Colour of distant things, BGR 0..255."""
    haze_m: float
    casts: bool
    """Whether buildings and trees throw shadows."""


def draw_light(rng: Generator) -> Light:
    """Sunshine, broken cloud, overcast or dusk."""
    kind = int(rng.choice(4, p=(0.32, 0.25, 0.3, 0.13)))
    azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.35, 1.0)
    sun = np.array((np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height),
                    np.sin(height)))  # fmt: skip
    warmth = rng.uniform(-0.06, 0.12)
    tone = np.array((1 - warmth, 1.0, 1 + warmth))
    direct, ambient = ((0.9, 0.58), (0.55, 0.72), (0.12, 1.0), (0.05, 0.46))[kind]
    strength = rng.uniform(0.85, 1.15)
    sky = np.ones(3) * (1.0, 1.08, 1.15, 0.62)[kind]
    haze = np.array((225.0, 222.0, 216.0)) * (1.0, 1.05, 1.05, 0.55)[kind]
    return Light(
        sun=sun,
        direct=direct * strength * tone,
        ambient=ambient * strength * np.array((1.06, 1.0, 0.96)),
        shadow=(0.55, 0.45, 0.3, 0.3)[kind],
        sky=sky * rng.uniform(0.9, 1.2),
        clouds=(0, 1, 3, 2)[kind],
        haze=haze,
        haze_m=rng.uniform(350, 1400),
        casts=kind < 2,
    )
