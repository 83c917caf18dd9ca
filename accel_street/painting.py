"""Painted surfaces: small uint8 BGR pictures of walls, ground, foliage, vehicles and signs.

Every painter takes a random generator and returns one picture, ``[h, w, 3]`` in BGR. Pictures
that are tinted per use (walls, clothes, foliage) are near grey.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.random import Generator

from accel_street.noise import crop_noise, fractal, speckle

WALLS_BGR = (
    (72, 88, 142),
    (64, 74, 112),
    (118, 150, 176),
    (196, 208, 214),
    (168, 186, 200),
    (150, 152, 156),
    (108, 122, 138),
    (88, 112, 150),
    (206, 212, 210),
    (92, 84, 92),
    (130, 170, 196),
)
SHOP_BGR = (
    (40, 40, 150),
    (110, 60, 30),
    (50, 100, 40),
    (30, 30, 34),
    (170, 170, 174),
    (40, 150, 190),
    (120, 40, 90),
    (140, 110, 40),
)


def _canvas(height: int, width: int, color: tuple[int, ...]) -> np.ndarray:
    return np.full((height, width, 3), color, np.float32)


def _finish(picture: np.ndarray) -> np.ndarray:
    return np.clip(picture, 0, 255).astype(np.uint8)


def _rectangle(
    picture: np.ndarray, x0: float, y0: float, x1: float, y1: float, color: Iterable[float]
) -> None:
    corners = (int(x0), int(y0)), (int(x1), int(y1))
    cv2.rectangle(picture, *corners, tuple(float(c) for c in color), -1)


def asphalt(rng: Generator) -> np.ndarray:
    """Tiling tarmac: grain, stains and a few cracks."""
    size = 384
    grey = 128 + 14 * fractal(rng, size, size, (2, 5, 11)) + speckle(rng, size, size, 10)
    grey -= 26 * np.clip(fractal(rng, size, size, (6, 12)) - 0.55, 0, 1)
    picture = np.repeat(grey[..., None], 3, 2)
    for _ in range(2):
        steps = np.cumsum(rng.normal(0, 9, (14, 2)), 0) + rng.uniform(90, 290, 2)
        cv2.polylines(picture, [steps.astype(np.int32)], False, (94, 94, 94), 1)
    return _finish(picture)


def paving(rng: Generator, slab_px: int) -> np.ndarray:
    """Tiling paving slabs of ``slab_px`` texels, joints between them."""
    size = 384
    rows = size // slab_px
    slabs = rng.normal(128, 7, (rows, rows)).astype(np.float32)
    grey = np.kron(slabs, np.ones((slab_px, slab_px), np.float32))
    grey += 9 * fractal(rng, size, size, (3, 7)) + speckle(rng, size, size, 8)
    grey[::slab_px] -= 30
    grey[:, ::slab_px] -= 30
    return _finish(np.repeat(grey[..., None], 3, 2))


def grass(rng: Generator) -> np.ndarray:
    """Tiling grass, in colour."""
    size = 256
    light = 1 + 0.25 * fractal(rng, size, size, (3, 8, 24)) + speckle(rng, size, size, 0.16)
    return _finish(light[..., None] * np.array((52, 104, 92), np.float32))


def brick(rng: Generator) -> np.ndarray:
    """Tiling brickwork, near grey: 32 courses."""
    size, course, length = 256, 8, 32
    rows, columns = size // course, size // length
    grey: np.ndarray = np.kron(
        rng.normal(130, 13, (rows, columns)).astype(np.float32),
        np.ones((course, length), np.float32),
    )
    for row in range(rows):
        band = slice(row * course, (row + 1) * course)
        shift = (row % 2) * length // 2
        grey[band] = np.roll(grey[band], shift, 1)
        grey[band, shift::length] += 18.0
    grey[::course] += 18.0
    grey += 10 * fractal(rng, size, size, (2, 5)) + speckle(rng, size, size, 7)
    return _finish(np.repeat(grey[..., None], 3, 2))


def roof(rng: Generator) -> np.ndarray:
    """Tiling roof tiles, near grey."""
    size, course = 128, 8
    ramp = (np.arange(size) % course / course * 36).astype(np.float32)
    grey = 120 + ramp[:, None] + 12 * fractal(rng, size, size, (3, 9))
    grey = grey + speckle(rng, size, size, 9)
    grey[:, ::8] -= 14
    return _finish(np.repeat(grey[..., None], 3, 2))


def foliage(rng: Generator, coarse: int) -> np.ndarray:
    """Tiling leaves: bright clumps over dark gaps, near grey-green."""
    size = 256
    clumps = fractal(rng, size, size, (coarse, 2 * coarse, 4 * coarse, 8 * coarse))
    light = np.clip(0.9 + 0.5 * clumps + speckle(rng, size, size, 0.2), 0.2, 1.7)
    hue = 1 + 0.05 * fractal(rng, size, size, (3, 6))[..., None] * np.array((-1, 0, 1))
    return _finish(light[..., None] * hue * np.array((96, 128, 118), np.float32))


def bark(rng: Generator) -> np.ndarray:
    """Tiling bark and weathered wood, near grey."""
    streaks = cv2.resize(speckle(rng, 8, 64, 20), (64, 128), interpolation=cv2.INTER_LINEAR)
    grey = 122 + streaks + speckle(rng, 128, 64, 9)
    return _finish(np.repeat(grey[..., None], 3, 2))


def matte(rng: Generator) -> np.ndarray:
    """Tiling plain material (paint, cloth, metal), near grey."""
    grey = 128 + 12 * fractal(rng, 64, 64, (2, 4)) + speckle(rng, 64, 64, 4)
    return _finish(np.repeat(grey[..., None], 3, 2))


def clouds(rng: Generator, cover: float) -> np.ndarray:
    """Tiling sky, in colour; ``cover`` 0 (clear) to 1 (overcast)."""
    size = 512
    field = fractal(rng, size, size, (3, 6, 12, 24, 48))
    amount = np.clip((field - (0.75 - 1.5 * cover)) * 1.6 + 0.1, 0, 1)[..., None]
    blue = np.array((214, 168, 122), np.float32)
    white = np.array((228, 224, 220), np.float32)
    under = 26 * cover * np.clip(fractal(rng, size, size, (3, 7, 15, 30)), -1, 1)[..., None]
    return _finish(blue * (1 - amount) + (white - 10 + under) * amount)


def fence(rng: Generator, kind: int) -> np.ndarray:
    """A fence's panel, tiling sideways: boards, railings, mesh or a low wall, in colour."""
    size = 128
    if kind == 0:
        picture = _canvas(size, size, (70, 104, 138))
        for x in range(0, size, 16):
            picture[:, x : x + 16] *= rng.uniform(0.75, 1.15)
            picture[:, x] *= 0.45
    elif kind in (1, 2):
        # What is behind railings belongs to the fence in hand-made labels, so it is painted.
        picture = _canvas(size, size, (84, 104, 98))
        picture *= 1 + 0.3 * fractal(rng, size, size, (3, 8))[..., None]
        bar = (38, 36, 34) if kind == 1 else (176, 178, 178)
        for x in range(0, size, 16):
            _rectangle(picture, x + 5, 0, x + 9, size, bar)
        for y in (4, size - 22):
            _rectangle(picture, 0, y, size, y + 8, bar)
    else:
        picture = cv2.resize(brick(rng).astype(np.float32), (size, size)) / 128
        picture *= np.array(WALLS_BGR[int(rng.integers(4))], np.float32)
        picture[:12] = (160, 166, 170)
    return _finish(picture + speckle(rng, size, size, 6)[..., None])


def _window(
    picture: np.ndarray, rng: Generator, box: tuple[float, float, float, float], frame: float
) -> None:
    """Draw one window in ``box`` = (x0, y0, x1, y1): frame, glass with a reflection, sill."""
    x0, y0, x1, y1 = box
    _rectangle(picture, x0 - 2, y0 - 2, x1 + 2, y1 + 2, (frame, frame, frame))
    top = rng.uniform(40, 120)
    for y in range(int(y0), int(y1) + 1):
        shade = top - (top - 30) * (y - y0) / max(y1 - y0, 1)
        _rectangle(picture, x0, y, x1, y, (shade * 1.1, shade, shade * 0.92))
    if rng.random() < 0.4:
        drop = rng.uniform(0.2, 0.7)
        _rectangle(picture, x0, y0, x1, y0 + drop * (y1 - y0), (150, 160, 164))
    middle = (x0 + x1) / 2
    if rng.random() < 0.75:
        _rectangle(picture, middle, y0, middle + 1, y1, (frame, frame, frame))
        _rectangle(picture, x0, (y0 + y1) / 2, x1, (y0 + y1) / 2 + 1, (frame, frame, frame))
    _rectangle(picture, x0 - 3, y1 + 2, x1 + 3, y1 + 4, (frame * 0.85,) * 3)


def _lettering(picture: np.ndarray, rng: Generator, box: tuple[float, float, float, float]) -> None:
    """Scribble writing into ``box`` = (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    ink = (235, 235, 235) if picture[int(y0), int(x0)].mean() < 140 else (30, 30, 60)
    x = x0
    step = max((y1 - y0) * 0.7, 3)
    while x + step < x1:
        if rng.random() < 0.85:
            dx, dy = rng.uniform(0, step * 0.7), rng.choice((0.0, 0.5, 1.0)) * (y1 - y0)
            cv2.line(picture, (int(x), int(y0)), (int(x), int(y1)), ink, 2)
            cv2.line(picture, (int(x), int(y0 + dy)), (int(x + dx), int(y0 + dy)), ink, 2)
        x += step


def _shop(picture: np.ndarray, rng: Generator, top: float) -> None:
    """Paint a shop below row ``top``: fascia with lettering, glass, a door."""
    height, width = picture.shape[:2]
    color = np.array(SHOP_BGR[int(rng.integers(len(SHOP_BGR)))]) * rng.uniform(0.8, 1.3)
    _rectangle(picture, 0, top, width, height, color * 0.7)
    fascia = (height - top) * 0.24
    _rectangle(picture, 4, top, width - 5, top + fascia, color)
    _lettering(picture, rng, (width * 0.15, top + fascia * 0.3, width * 0.85, top + fascia * 0.75))
    panes = int(rng.integers(2, 5))
    for pane in range(panes):
        x0, x1 = width * pane / panes + 5, width * (pane + 1) / panes - 5
        _window(picture, rng, (x0, top + fascia + 5, x1, height - 14), 60)
        if rng.random() < 0.6:
            glow = rng.uniform(60, 200, 3)
            x = rng.uniform(x0, (x0 + x1) / 2)
            _rectangle(picture, x, height - 50, x + 14, height - 22, glow)


def _doorway(picture: np.ndarray, rng: Generator, box: tuple[float, float, float, float]) -> None:
    color = rng.uniform(20, 150, 3)
    x0, y0, x1, y1 = box
    _rectangle(picture, x0 - 3, y0 - 4, x1 + 3, y1, (190, 194, 198))
    _rectangle(picture, x0, y0, x1, y1, color)
    _rectangle(picture, x0 + 4, y0 + 4, x1 - 4, y0 + 14, (70, 66, 60))


def facade(rng: Generator, storeys: int, bays: int, shop: bool) -> np.ndarray:
    """A building's front, in colour: ``storeys`` rows of ``bays`` windows over a ground floor."""
    size = 256
    base = np.array(WALLS_BGR[int(rng.integers(len(WALLS_BGR)))], np.float32)
    texture = (
        brick(rng).astype(np.float32) / 130 if rng.random() < 0.6 else np.ones((size, size, 3))
    )
    weather = 1 + 0.1 * fractal(rng, size, size, (2, 5, 12))[..., None]
    picture = np.ascontiguousarray(base * texture * weather, np.float32)
    floor_px = size * 0.94 / storeys
    bay_px = size / bays
    tall, wide = rng.uniform(0.45, 0.72), rng.uniform(0.32, 0.72)
    frame = float(rng.choice((215, 190, 60)))
    band = rng.random() < 0.5
    for storey in range(storeys):
        y0 = size * 0.06 + storey * floor_px
        ground = storey == storeys - 1
        if band and not ground:
            _rectangle(picture, 0, y0 + floor_px - 4, size, y0 + floor_px - 1, base * 1.2)
        if ground and shop:
            _shop(picture, rng, y0)
            continue
        door = int(rng.integers(bays)) if ground else -1
        for bay in range(bays):
            x0 = bay * bay_px + bay_px * (1 - wide) / 2
            if bay == door:
                _doorway(picture, rng, (x0, y0 + floor_px * 0.3, x0 + bay_px * 0.5, size - 1))
            else:
                top = y0 + floor_px * (0.9 - tall) * 0.6
                box = (x0, top, x0 + bay_px * wide, top + floor_px * tall)
                _window(picture, rng, box, frame)
    _rectangle(picture, 0, 0, size, 7, base * rng.uniform(0.6, 1.3))
    if rng.random() < 0.5:
        _rectangle(picture, size - 9, 0, size - 6, size, (70, 70, 70))
    return _finish(picture + speckle(rng, size, size, 5)[..., None])


def curtain_wall(rng: Generator, storeys: int, bays: int) -> np.ndarray:
    """An office front: glass bands between concrete, in colour."""
    size = 256
    base = np.array((170, 174, 176), np.float32) * rng.uniform(0.6, 1.15)
    picture = _canvas(size, size, tuple(base))
    picture *= 1 + 0.06 * fractal(rng, size, size, (2, 7))[..., None]
    floor_px = size / storeys
    for storey in range(storeys):
        y0 = storey * floor_px
        for bay in range(2 * bays):
            x0 = bay * size / (2 * bays)
            shade = rng.uniform(50, 120)
            color = (shade * 1.25, shade * 1.05, shade * 0.9)
            right = x0 + size / (2 * bays) - 3
            _rectangle(picture, x0 + 2, y0 + floor_px * 0.2, right, y0 + floor_px * 0.85, color)
    return _finish(picture + speckle(rng, size, size, 4)[..., None])


def sky_glass(rng: Generator, height: int, width: int) -> np.ndarray:
    """A vehicle's window: dark glass with the sky's reflection, near grey."""
    ramp = np.linspace(105, 40, height, dtype=np.float32)[:, None]
    grey = ramp + 18 * crop_noise(rng, height, width, (2, 3))
    return np.repeat(grey[..., None], 3, 2) * np.array((1.08, 1.0, 0.95), np.float32)


def glass(rng: Generator) -> np.ndarray:
    """A windscreen within its pillars, near grey."""
    picture = sky_glass(rng, 64, 128)
    for side in (0, 122):
        picture[:, side : side + 6] = 110.0
    picture[:3] = 110.0
    return _finish(picture)


def sign(rng: Generator, kind: int) -> np.ndarray:
    """A traffic sign's face, in colour: prohibition, warning, direction, order, billboard."""
    size = 64
    if kind == 0:
        picture = _canvas(size, size, (40, 30, 200))
        cv2.circle(picture, (32, 32), 22, (235, 235, 235), -1)
        limit = ("30", "20", "40", "50")[int(rng.integers(4))]
        face = picture.astype(np.uint8)  # OpenCV 5 writes text into 8-bit pictures only
        cv2.putText(face, limit, (13, 41), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (20, 20, 20), 3)
        picture = face.astype(np.float32)
    elif kind == 1:
        picture = _canvas(size, size, (235, 235, 235))
        triangle = np.array([(32, 3), (61, 59), (3, 59)], np.int32)
        cv2.polylines(picture, [triangle], True, (40, 30, 200), 12)
        cv2.line(picture, (32, 26), (32, 44), (20, 20, 20), 5)
    elif kind == 2:
        picture = _canvas(size, size, ((140, 80, 20), (60, 110, 20))[int(rng.integers(2))])
        cv2.rectangle(picture, (2, 2), (61, 61), (235, 235, 235), 2)
        for y in (10, 28, 46):
            _lettering(picture, rng, (8, y, 56, y + 9))
    elif kind == 3:
        picture = _canvas(size, size, (190, 90, 20))
        cv2.arrowedLine(picture, (32, 54), (32, 12), (240, 240, 240), 6, tipLength=0.4)
    else:
        picture = _canvas(size, size, tuple(rng.uniform(40, 240, 3)))
        cv2.circle(picture, (int(rng.integers(15, 50)), 36), 16, tuple(rng.uniform(0, 255, 3)), -1)
        _lettering(picture, rng, (6, 6, 58, 16))
    return _finish(picture)


def signal(lit: int) -> np.ndarray:
    """A traffic signal's head, in colour; ``lit`` 0 red, 1 amber, 2 green."""
    picture = _canvas(96, 40, (28, 28, 28))
    colors = ((40, 40, 255), (40, 190, 255), (110, 255, 60))
    for lamp in range(3):
        color = colors[lamp] if lamp == lit else tuple(c * 0.18 for c in colors[lamp])
        cv2.circle(picture, (20, 17 + 31 * lamp), 12, color, -1)
    return _finish(picture)
