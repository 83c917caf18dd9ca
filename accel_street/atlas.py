"""The texture atlas: all painted surfaces in one picture with its mip levels, built once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from accel_street import painting, stencils, vehicle_painting

GUTTER = 16
LEVELS = 6
GROUND_TILE_M = 8.0
_WIDTH = 3072
_SEED = 20190610


@dataclass(frozen=True)
class Facade:
    """What a building needs to know of its front's picture."""

    texture: int
    storeys: int
    bays: int


@dataclass(frozen=True)
class Atlas:
    """Textures packed with gutters, all mip levels in one image.

    ``image`` is uint8 BGR; level ``k`` (halved ``k`` times) starts at ``level_origin[k]`` (x, y).
    ``rect`` is ``[textures, 4]``: x, y, width, height of each texture at level 0; ``tiled`` says
    which repeat. ``names`` maps a kind of surface to its textures; ``facades`` likewise, with
    their shape. ``stencils`` maps a kind of cut-out to mask pyramids.
    """

    image: np.ndarray
    level_origin: np.ndarray
    rect: np.ndarray
    tiled: np.ndarray
    names: dict[str, tuple[int, ...]]
    facades: dict[str, tuple[Facade, ...]]
    stencil_pyramids: tuple[tuple[np.ndarray, ...], ...]
    stencils: dict[str, tuple[int, ...]]


def _pictures(rng: np.random.Generator) -> Iterator[tuple[str, bool, np.ndarray]]:
    """All textures but facades as (name, tiled, picture)."""
    for _ in range(3):
        yield "asphalt", True, painting.asphalt(rng)
    for slab_px in (48, 24):
        yield "paving", True, painting.paving(rng, slab_px)
    yield "grass", True, painting.grass(rng)
    for _ in range(2):
        yield "brick", True, painting.brick(rng)
    yield "roof", True, painting.roof(rng)
    for coarse in (4, 7, 11):
        yield "foliage", True, painting.foliage(rng, coarse)
    yield "bark", True, painting.bark(rng)
    yield "matte", True, painting.matte(rng)
    for cover in (0.15, 0.5, 0.8, 1.0):
        yield "clouds", True, painting.clouds(rng, cover)
    for kind in range(4):
        yield "fence", True, painting.fence(rng, kind)
    for kind in range(5):
        for _ in range(3 if kind in (0, 2, 4) else 1):
            yield f"sign{kind}", False, painting.sign(rng, kind)
    for lit in range(3):
        yield "signal", False, painting.signal(lit)
    yield "glass", False, painting.glass(rng)
    for _ in range(2):
        yield "cabin_side", False, vehicle_painting.cabin_side(rng)
    for paint in vehicle_painting.CAR_PAINTS_BGR:
        yield "car_side", False, vehicle_painting.car_side(rng, paint, (0.2, 0.8), 0.36)
        yield "car_front", False, vehicle_painting.car_front(rng, paint)
        yield "car_rear", False, vehicle_painting.car_rear(rng, paint)
    for paint in vehicle_painting.VAN_PAINTS_BGR:
        yield "van_side", False, vehicle_painting.van_side(rng, paint)
        yield "van_front", False, vehicle_painting.car_front(rng, paint)
        yield "van_rear", False, vehicle_painting.tall_end(rng, paint, False, 1)
    for paint in vehicle_painting.BUS_PAINTS_BGR:
        for decks in (1, 2):
            yield f"bus_side{decks}", False, vehicle_painting.bus_side(rng, paint, decks)
            yield f"bus_front{decks}", False, vehicle_painting.tall_end(rng, paint, True, decks)
            yield f"bus_rear{decks}", False, vehicle_painting.tall_end(rng, paint, False, decks)


def _fronts(rng: np.random.Generator) -> Iterator[tuple[str, int, int, np.ndarray]]:
    """All facades as (kind, storeys, bays, picture)."""
    for number in range(48):
        storeys, bays = int(rng.integers(2, 5)), int(rng.integers(2, 5))
        if number < 22:
            yield "shop", storeys, bays, painting.facade(rng, storeys, bays, True)
        elif number < 40:
            yield "house", storeys, bays, painting.facade(rng, storeys, bays, False)
        else:
            storeys += 1
            yield "office", storeys, bays, painting.curtain_wall(rng, storeys, bays)


def _pack(sizes: list[tuple[int, int]]) -> tuple[np.ndarray, int]:
    """Place (width, height) boxes on shelves; returns corners ``[n, 2]`` and the total height."""
    corners = np.zeros((len(sizes), 2), np.int64)
    x = y = shelf = 0
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i][1]):
        width, height = sizes[index]
        if x + width > _WIDTH:
            x, y, shelf = 0, y + shelf, 0
        corners[index] = x, y
        x, shelf = x + width, max(shelf, height)
    return corners, y + shelf


def _mip_chain(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All levels in one picture: level 0 left, the others below each other on its right."""
    height, width = image.shape[:2]
    chain = np.zeros((height, width + width // 2, 3), np.uint8)
    origin = np.zeros((LEVELS, 2), np.float32)
    chain[:, :width] = image
    y = 0
    for level in range(1, LEVELS):
        image = cv2.resize(
            image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA
        )
        chain[y : y + image.shape[0], width : width + image.shape[1]] = image
        origin[level] = width, y
        y += image.shape[0]
    return chain, origin


def _stencils(
    rng: np.random.Generator,
) -> tuple[tuple[tuple[np.ndarray, ...], ...], dict[str, tuple[int, ...]]]:
    masks = [stencils.leafy_crown(rng, slim) for slim in (1.0, 1.0, 0.9, 0.75, 0.5)]
    masks += [stencils.bare_crown(rng) for _ in range(4)]
    masks.append(stencils.wheel())
    kinds = {"leafy": (0, 1, 2, 3, 4), "bare": (5, 6, 7, 8), "wheel": (9,)}
    return tuple(stencils.pyramid(mask) for mask in masks), kinds


@functools.lru_cache(maxsize=1)
def atlas() -> Atlas:
    """The atlas, painted on first use (about a second) and shared by all drives."""
    rng = np.random.default_rng(_SEED)
    pictures: list[np.ndarray] = []
    tiled: list[bool] = []
    names: dict[str, list[int]] = {}
    facades: dict[str, list[Facade]] = {}
    for name, repeats, picture in _pictures(rng):
        names.setdefault(name, []).append(len(pictures))
        pictures.append(picture)
        tiled.append(repeats)
    for kind, storeys, bays, picture in _fronts(rng):
        facades.setdefault(kind, []).append(Facade(len(pictures), storeys, bays))
        pictures.append(picture)
        tiled.append(False)

    align = 1 << (LEVELS - 1)
    boxes = [
        (-(-(p.shape[1] + 2 * GUTTER) // align) * align,
         -(-(p.shape[0] + 2 * GUTTER) // align) * align)
        for p in pictures
    ]  # fmt: skip
    corners, height = _pack(boxes)
    image = np.zeros((height, _WIDTH, 3), np.uint8)
    for picture, repeats, corner, box in zip(pictures, tiled, corners, boxes, strict=True):
        border = cv2.BORDER_WRAP if repeats else cv2.BORDER_REPLICATE
        right, below = box[0] - GUTTER - picture.shape[1], box[1] - GUTTER - picture.shape[0]
        padded = cv2.copyMakeBorder(picture, GUTTER, below, GUTTER, right, border)
        image[corner[1] : corner[1] + box[1], corner[0] : corner[0] + box[0]] = padded
    shapes = np.array([(p.shape[1], p.shape[0]) for p in pictures])
    chain, origin = _mip_chain(image)
    masks, kinds = _stencils(rng)
    return Atlas(
        image=chain,
        level_origin=origin,
        rect=np.concatenate([corners + GUTTER, shapes], 1).astype(np.float32),
        tiled=np.array(tiled),
        names={name: tuple(ids) for name, ids in names.items()},
        facades={kind: tuple(fronts) for kind, fronts in facades.items()},
        stencil_pyramids=masks,
        stencils=kinds,
    )
