"""Painted sides, fronts and backs of vehicles, in colour: one set of pictures per body paint."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from accel_street.noise import crop_noise, speckle
from accel_street.painting import sky_glass

Bgr = tuple[int, int, int]

CAR_PAINTS_BGR: tuple[Bgr, ...] = (
    (30, 30, 32),
    (60, 60, 62),
    (138, 140, 143),
    (180, 182, 184),
    (222, 225, 225),
    (40, 40, 140),
    (120, 70, 36),
    (70, 44, 32),
    (52, 78, 44),
    (96, 128, 150),
    (34, 34, 88),
)
VAN_PAINTS_BGR: tuple[Bgr, ...] = ((225, 228, 228), (176, 178, 180), (120, 66, 40), (40, 40, 150))
BUS_PAINTS_BGR: tuple[Bgr, ...] = ((40, 36, 165), (56, 92, 44), (205, 205, 196), (96, 150, 170))
PLATES_BGR: tuple[Bgr, ...] = ((60, 200, 230), (225, 225, 225))


def _body(rng: Generator, height: int, width: int, paint: Bgr) -> np.ndarray:
    """Painted sheet metal with the sky's sheen above and the road's dark below."""
    sheen = np.linspace(1.15, 0.72, height, dtype=np.float32)[:, None]
    light = sheen * (1 + 0.06 * crop_noise(rng, height, width, (2, 4)))
    return np.ascontiguousarray(light[..., None] * np.array(paint), np.float32)


def _finish(picture: np.ndarray, rng: Generator) -> np.ndarray:
    picture = picture + speckle(rng, picture.shape[0], picture.shape[1], 3)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _wheel(picture: np.ndarray, x: int, y: int, radius: int) -> None:
    cv2.circle(picture, (x, y), radius + 3, (18, 18, 18), -1)
    cv2.circle(picture, (x, y), int(radius * 0.62), (140, 140, 140), -1)
    cv2.circle(picture, (x, y), int(radius * 0.5), (84, 84, 84), 2)
    cv2.circle(picture, (x, y), int(radius * 0.15), (50, 50, 50), -1)


def car_side(rng: Generator, paint: Bgr, wheels: tuple[float, float], radius: float) -> np.ndarray:
    """A car's flank below its windows, 256 texels long; wheel positions as fractions of it."""
    height, width = 64, 256
    picture = _body(rng, height, width, paint)
    picture[22] *= 1.2
    picture[50:] *= 0.45
    for x in (88, 132, 172):
        cv2.line(picture, (x, 0), (x, 52), (70, 70, 70), 1)
    for x in (116, 160):
        cv2.line(picture, (x, 12), (x + 8, 12), (60, 60, 60), 2)
    picture[8:18, :9] = (60, 50, 190)
    picture[8:18, 246:] = (210, 215, 215)
    for fraction in wheels:
        _wheel(picture, int(fraction * width), int(height * (1 - radius)), int(radius * height))
    return _finish(picture, rng)


def cabin_side(rng: Generator) -> np.ndarray:
    """A car's side windows between pillars."""
    picture = sky_glass(rng, 48, 128)
    picture[:4] = 140.0
    for x in (0, 58, 64, 122):
        picture[:, x : x + 5] = 60.0 if x in (58, 64) else 126.0
    return _finish(picture, rng)


def car_front(rng: Generator, paint: Bgr) -> np.ndarray:
    """A car's nose: grille, headlamps, plate, bumper."""
    picture = _body(rng, 64, 128, paint)
    cv2.rectangle(picture, (38, 10), (90, 26), (26, 26, 26), -1)
    for x in (5, 99):
        cv2.rectangle(picture, (x, 10), (x + 24, 24), (222, 226, 226), -1)
        cv2.circle(picture, (x + 12, 17), 5, (150, 150, 150), -1)
    cv2.rectangle(picture, (44, 34), (84, 42), PLATES_BGR[1], -1)
    cv2.rectangle(picture, (10, 46), (118, 64), (40, 40, 40), -1)
    return _finish(picture, rng)


def car_rear(rng: Generator, paint: Bgr) -> np.ndarray:
    """A car's tail: lamps, plate, bumper."""
    picture = _body(rng, 64, 128, paint)
    for x in (3, 107):
        cv2.rectangle(picture, (x, 6), (x + 18, 26), (36, 24, 178), -1)
    cv2.rectangle(picture, (42, 20), (86, 30), PLATES_BGR[int(rng.integers(2))], -1)
    cv2.line(picture, (24, 34), (104, 34), (80, 80, 80), 1)
    cv2.rectangle(picture, (4, 44), (124, 64), (50, 50, 50), -1)
    return _finish(picture, rng)


def van_side(rng: Generator, paint: Bgr) -> np.ndarray:
    """A van's flank with its cab window at the front (right) and wheels."""
    picture = _body(rng, 128, 256, paint)
    cv2.rectangle(picture, (196, 18), (244, 56), (62, 58, 54), -1)
    cv2.line(picture, (186, 6), (186, 112), (80, 80, 80), 1)
    cv2.line(picture, (120, 6), (120, 112), (90, 90, 90), 1)
    if rng.random() < 0.6:
        stripe = tuple(rng.uniform(20, 235, 3))
        cv2.rectangle(picture, (20, 38), (170, 58), stripe, -1)
    picture[112:] *= 0.4
    for x in (52, 214):
        _wheel(picture, x, 110, 17)
    return _finish(picture, rng)


def bus_side(rng: Generator, paint: Bgr, decks: int) -> np.ndarray:
    """A bus's flank: one row of windows per deck, doors, wheels."""
    picture = _body(rng, 128, 384, paint)
    row = 100 // decks
    for deck in range(decks):
        y0 = 8 + deck * row
        for x in range(6, 372, 46):
            height = int(row * 0.6)
            pane = sky_glass(rng, height, 40)[:, : 384 - x]
            picture[y0 : y0 + height, x : x + pane.shape[1]] = pane
    cv2.rectangle(picture, (4, 96), (380, 104), tuple(rng.uniform(30, 220, 3)), -1)
    picture[116:] *= 0.4
    for x in (80, 312):
        _wheel(picture, x, 114, 13)
    return _finish(picture, rng)


def tall_end(rng: Generator, paint: Bgr, front: bool, decks: int) -> np.ndarray:
    """The front or back of a van or bus: windows, lamps, plate, destination board."""
    picture = _body(rng, 128, 96, paint)
    row = 84 // decks
    for deck in range(decks):
        y0, height = 10 + deck * row, int(row * (0.68 if front else 0.5))
        picture[y0 : y0 + height, 8:88] = sky_glass(rng, height, 80)
    if decks > 1 or rng.random() < 0.4:
        cv2.rectangle(picture, (20, 4), (76, 14), (20, 20, 20), -1)
        cv2.line(picture, (30, 9), (66, 9), (60, 190, 240), 3)
    lamp = (218, 222, 222) if front else (36, 24, 178)
    for x in (4, 78):
        cv2.rectangle(picture, (x, 92), (x + 14, 102), lamp, -1)
    cv2.rectangle(picture, (34, 104), (62, 110), PLATES_BGR[int(front)], -1)
    picture[116:] *= 0.4
    return _finish(picture, rng)
