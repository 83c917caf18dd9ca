"""Cars, vans and buses as painted solids; x forward, y left, z up, origin on the ground."""

from __future__ import annotations

import functools

import numpy as np
from numpy.random import Generator

from accel_street.atlas import atlas
from accel_street.mesh import CAR, SHADOW, Face, Layer, Mesh, mesh, rectangle
from accel_street.panels import WHITE, Tint, ground, panel
from accel_street.vehicle_painting import CAR_PAINTS_BGR, VAN_PAINTS_BGR, Bgr

_SEED = 4
_LEAN = 1e-3
DARK: Tint = (0.14, 0.14, 0.14)


def _tint(paint: Bgr) -> Tint:
    """The tint that gives the plain texture the colour ``paint``."""
    b, g, r = paint
    return b / 128, g / 128, r / 128


def _with_wheels(
    length: float, wheels: tuple[float, float], radius: float, top: list[tuple[float, float]]
) -> np.ndarray:
    """A flank's outline ``[k, 2]`` (x, z): wheels' round bottoms, then ``top`` from front to back.

    ``wheels`` are positions as fractions of the length, from the back.
    """
    angles = np.linspace(np.pi, 2 * np.pi, 7)
    arcs = [
        np.stack([(w - 0.5) * length + radius * np.cos(angles), radius * (1 + np.sin(angles))], 1)
        for w in wheels
    ]
    return np.concatenate([*arcs, np.asarray(top)])


def _flanks(outline: np.ndarray, foot: float, head: float, texture: int) -> list[Face]:
    """Both sides from an (x, z) outline, leaning from half width ``foot`` to ``head``."""
    x, z = outline.T
    half = foot + (head - foot) * (z - z.min()) / (z.max() - z.min())
    right = np.stack([x, -half, z], 1)
    left = (right * (1, -1, 1))[::-1]
    return [
        panel(right, CAR, texture, along=(1, 0, 0)),
        panel(left, CAR, texture, along=(-1, 0, 0), flip=True),
    ]


def _across(
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    texture: int,
    tint: Tint = WHITE,
) -> Face:
    """A face over the vehicle's width, from edge ``low`` to edge ``high`` (x, z, half width).

    It is seen from ahead where ``low`` is ahead of ``high``, else from behind.
    """
    (x0, z0, w0), (x1, z1, w1) = low, high
    side = 1.0 if x0 >= x1 else -1.0
    corners = [(x0, -side * w0, z0), (x0, side * w0, z0), (x1, side * w1, z1), (x1, -side * w1, z1)]
    return panel(corners, CAR, texture, tint=tint)


def _shadow(length: float, width: float) -> Face:
    outline = rectangle(-length / 2 - 0.15, -width / 2 - 0.2, length / 2 + 0.15, width / 2 + 0.2)
    return ground([outline], 0.0, SHADOW, atlas().names["matte"][0], layer=Layer.SHADOW)


def _tyres(x: float, half: float) -> list[Face]:
    """What shows of the tyres below a bumper at ``x``."""
    side = np.sign(x)
    matte = atlas().names["matte"][0]
    return [
        panel(
            [(x, -side * a, 0.0), (x, -side * b, 0.0), (x, -side * b, 0.4), (x, -side * a, 0.4)],
            CAR,
            matte,
            tint=DARK,
        )
        for a, b in ((half, half - 0.22), (-half + 0.22, -half))
    ]


def car(rng: Generator) -> Mesh:
    """A saloon, hatchback or estate."""
    length, half = rng.uniform(3.8, 4.7), rng.uniform(0.82, 0.93)
    belt, roof = rng.uniform(0.86, 1.0), rng.uniform(1.4, 1.62)
    front, back = length / 2, -length / 2
    bonnet, boot = rng.uniform(0.95, 1.25), rng.choice((0.02, 0.08, 0.7))
    nose, tail, waist, top = belt - 0.16, belt - 0.06, half * 0.97, half * 0.76
    screen, hatch = front - bonnet, back + boot
    roof_f, roof_b = screen - 0.75, hatch + 0.3 + 0.25 * rng.random()
    names = atlas().names
    number = int(rng.integers(len(CAR_PAINTS_BGR)))
    tint = _tint(CAR_PAINTS_BGR[number])
    plain, glass = names["matte"][0], names["glass"][0]
    upper = [(front - 0.06, 0.3), (front, nose), (screen, belt), (hatch, belt), (back, tail),
             (back + 0.06, 0.3)]  # fmt: skip
    side = _with_wheels(length, (0.2, 0.8), 0.36 * belt, upper)
    cabin = np.array([(hatch, belt), (screen, belt), (roof_f, roof), (roof_b, roof)])
    return mesh(
        [
            _shadow(length, 2 * half),
            *_flanks(side, half, half * 0.98, names["car_side"][number]),
            *_flanks(cabin, waist, top, names["cabin_side"][number % 2]),
            _across((front, 0.26, half), (front, nose, half), names["car_front"][number]),
            _across((front, nose, half), (screen, belt, half), plain, tint),
            _across((screen, belt, waist), (roof_f, roof, top), glass),
            _across((roof_f, roof, top), (roof_b, roof, top), plain, tint),
            _across((hatch, belt, waist), (roof_b, roof, top), glass),
            _across((back, tail, half), (hatch, belt, half), plain, tint),
            _across((back, 0.26, half), (back + _LEAN, tail, half), names["car_rear"][number]),
            *_tyres(front - 0.3, half),
            *_tyres(back + 0.3, half),
        ]
    )


def van(rng: Generator) -> Mesh:
    """A delivery van."""
    length, half, height = rng.uniform(4.8, 5.8), 0.98, rng.uniform(1.95, 2.5)
    front, back, top = length / 2, -length / 2, 0.92
    screen = front - 0.75
    names = atlas().names
    number = int(rng.integers(len(VAN_PAINTS_BGR)))
    upper = [(front, 0.3), (front, 1.1), (screen, height), (back, height), (back, 0.3)]
    side = _with_wheels(length, (52 / 256, 214 / 256), height * 18 / 128, upper)
    roof = names["matte"][0], _tint(VAN_PAINTS_BGR[number])
    return mesh(
        [
            _shadow(length, 2 * half),
            *_flanks(side, half, top, names["van_side"][number]),
            _across((front, 0.28, half), (front, 1.1, half), names["van_front"][number]),
            _across((front, 1.1, half), (screen, height, top), names["glass"][0]),
            _across((screen, height, top), (back, height, top), *roof),
            _across((back, 0.28, half), (back + _LEAN, height, top), names["van_rear"][number]),
            *_tyres(front - 0.3, half),
            *_tyres(back + 0.3, half),
        ]
    )


def bus(rng: Generator) -> Mesh:
    """A single or double decker."""
    decks = int(rng.integers(1, 3))
    length, half, height = rng.uniform(9.5, 11.5), 1.25, 1.7 + 1.3 * decks
    front, back = length / 2, -length / 2
    names = atlas().names
    sides, faces, backs = (names[f"bus_{part}{decks}"] for part in ("side", "front", "rear"))
    number = int(rng.integers(len(sides)))
    upper = [(front, 0.35), (front, height), (back, height), (back, 0.35)]
    side = _with_wheels(length, (80 / 384, 312 / 384), 0.48, upper)
    return mesh(
        [
            _shadow(length, 2 * half),
            *_flanks(side, half, half, sides[number]),
            _across((front, 0.3, half), (front, height, half), faces[number]),
            _across((back, 0.3, half), (back + _LEAN, height, half), backs[number]),
            *_tyres(front - 0.3, half),
            *_tyres(back + 0.3, half),
        ]
    )


@functools.lru_cache(maxsize=1)
def _fleet() -> tuple[Mesh, ...]:
    rng = np.random.default_rng(_SEED)
    kinds = (car,) * 78 + (van,) * 12 + (bus,) * 6
    return tuple(kind(rng) for kind in kinds)


def vehicle(rng: Generator) -> Mesh:
    """A vehicle of the fleet that all drives share, most often a car."""
    return _fleet()[int(rng.integers(len(_fleet())))]
