"""Things that stand along a street: posts, lamps, signs, signals and trees."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from accel_street.atlas import atlas
from accel_street.mesh import POLE, SIGN, TREE, Face, rectangle
from accel_street.panels import Tint, upright

_DISC = np.stack([np.cos(a := np.linspace(0, 2 * np.pi, 16, endpoint=False)), np.sin(a)], 1)


def choose(rng: Generator, name: str) -> int:
    """One of the textures called ``name``."""
    options = atlas().names[name]
    return options[int(rng.integers(len(options)))]


def shade(tint: Tint, factor: float) -> Tint:
    """``tint`` made lighter or darker."""
    b, g, r = tint
    return b * factor, g * factor, r * factor


def square(width: float, height: float) -> np.ndarray:
    """A rectangle centred over its foot."""
    return rectangle(-width / 2, 0.0, width / 2, height)


def post(foot: np.ndarray, across: np.ndarray, radius: float, height: float, tone: float) -> Face:
    """A round post, ``tone`` its brightness."""
    outline = rectangle(-radius, 0, radius, height)
    matte = atlas().names["matte"][0]
    return upright(foot, across, outline, POLE, matte, tint=(tone, tone, tone), tile_m=1.0)


def lamp(foot: np.ndarray, across: np.ndarray, side: int, height: float) -> list[Face]:
    """A street lamp whose arm reaches over the road."""
    reach = side * 1.8
    arm = np.array(
        ((0, height - 0.15), (reach, height + 0.35), (reach, height + 0.45), (0, height))
    )
    head = rectangle(
        min(reach, reach * 1.35), height + 0.3, max(reach, reach * 1.35), height + 0.48
    )
    matte = atlas().names["matte"][0]
    gray, pale = (0.75, 0.75, 0.75), (1.3, 1.3, 1.3)
    return [
        post(foot, across, 0.085, height, 0.75),
        post(foot, across, 0.13, 1.2, 0.7),
        upright(foot, across, arm, POLE, matte, tint=gray, tile_m=1.0),
        upright(foot, across, head, POLE, matte, tint=pale, tile_m=1.0),
    ]


def traffic_sign(rng: Generator, foot: np.ndarray, across: np.ndarray) -> list[Face]:
    """A sign on its post: round, triangular, square or a large board."""
    kind = int(rng.choice(5, p=(0.25, 0.2, 0.25, 0.15, 0.15)))
    size = rng.uniform(0.55, 0.8) * (1.6 if kind == 2 else 1.0)
    low = rng.uniform(1.9, 2.4)
    texture = choose(rng, f"sign{kind}")
    if kind in (0, 3):
        board = _DISC * size / 2 + np.array((0.0, low + size / 2))
    elif kind == 1:
        board = np.array(((-0.52, 0.0), (0.52, 0.0), (0.0, 0.92))) * size + np.array((0.0, low))
    else:
        board = square(size, size * rng.uniform(0.8, 1.3)) + np.array((0.0, low))
    nearer = np.cross(across, (0.0, 0.0, 1.0)) * 0.06
    return [
        post(foot, across, 0.045, low + size * 0.8, 0.8),
        upright(foot + nearer, across, board, SIGN, texture),
    ]


def traffic_signal(rng: Generator, foot: np.ndarray, across: np.ndarray) -> list[Face]:
    """A signal's head on its post."""
    texture = atlas().names["signal"][int(rng.integers(3))]
    low = 2.3
    nearer = np.cross(across, (0.0, 0.0, 1.0)) * 0.08
    return [
        post(foot, across, 0.07, low + 0.3, 0.3),
        upright(foot + nearer, across, square(0.42, 1.0) + np.array((0.0, low)), SIGN, texture),
    ]


def tree(
    rng: Generator,
    foot: np.ndarray,
    across: np.ndarray,
    foliage: Tint,
    *,
    bare: bool,
    kerbside: bool,
) -> tuple[list[Face], float, float]:
    """A tree: trunk and overlapping crowns, in leaf or bare. Returns faces, width and height.

    A ``kerbside`` tree is kept narrow and its leaves high, clear of traffic.
    """
    names, stencils = atlas().names, atlas().stencils
    height = rng.uniform(4.5, 11.0)
    width = height * rng.uniform(0.55, 0.95)
    if kerbside:
        height, width = max(height, 6.0), min(width, 4.5)
    nearer = np.cross(across, (0.0, 0.0, 1.0))
    faces = []
    if bare:
        wood = shade((0.46, 0.5, 0.55), rng.uniform(0.7, 1.3))
        for turn in range(2):
            texture = names["bark"][0]
            crown = stencils["bare"][int(rng.integers(len(stencils["bare"])))]
            at = foot + nearer * 0.3 * turn
            faces.append(
                upright(at, across * (1 - 2 * turn), square(width, height), TREE, texture,
                        tint=wood, tile_m=1.5, stencil=crown)
            )  # fmt: skip
        return faces, width, height
    trunk = np.array(((-0.16, 0), (0.16, 0), (0.1, height * 0.5), (-0.1, height * 0.5)))
    wood = (0.42, 0.5, 0.6)
    faces.append(upright(foot, across, trunk, TREE, names["bark"][0], tint=wood, tile_m=1.5))
    for layer in range(3):
        crown = stencils["leafy"][int(rng.integers(len(stencils["leafy"])))]
        share = rng.uniform(0.6, 0.85)
        centre = rng.uniform(-0.16, 0.16) * width
        low = max(height * rng.uniform(0.22, 0.4), 2.6 if kerbside else 0.0)
        box = rectangle(-width * share / 2, low, width * share / 2, low + height * share)
        tint = shade(foliage, (0.75, 0.95, 1.15)[layer] * rng.uniform(0.9, 1.1))
        at = foot + nearer * (0.6 * layer - 0.6) + across * centre
        faces.append(
            upright(at, across, box, TREE, choose(rng, "foliage"), tint=tint,
                    tile_m=rng.uniform(2.0, 3.5), stencil=crown)
        )  # fmt: skip
    return faces, width, height
