"""Making textured faces: pictures stretched over a panel, tiles repeated at a scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from accel_street.atlas import GROUND_TILE_M, atlas
from accel_street.mesh import Face, Layer, plane

Tint = tuple[float, float, float]
Texels = tuple[float, float, float, float]
WHITE: Tint = (1.0, 1.0, 1.0)


def stretched(texture: int, outline: np.ndarray, flip: bool = False) -> Texels:
    """Texel mapping that fits ``texture`` over the bounding box of ``outline`` (v upward)."""
    (u0, v0), (u1, v1) = outline.min(0), outline.max(0)
    width, height = atlas().rect[texture, 2:].tolist()
    su, sv = width / (u1 - u0), height / (v1 - v0)
    if flip:
        return -su, -sv, su * u1, sv * v1
    return su, -sv, -su * u0, sv * v1


def repeated(texture: int, tile_m: float) -> Texels:
    """Texel mapping that repeats ``texture`` every ``tile_m`` metres."""
    width, height = atlas().rect[texture, 2:].tolist()
    return width / tile_m, -height / tile_m, 0.0, 0.0


def _unit(vector: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    x, y, z = vector
    norm = math.sqrt(x * x + y * y + z * z)
    return x / norm, y / norm, z / norm


def panel(
    points: Sequence[Sequence[float]] | np.ndarray,
    label: int,
    texture: int,
    *,
    along: Sequence[float] | None = None,
    tint: Tint = WHITE,
    tile_m: float | None = None,
    flip: bool = False,
) -> Face:
    """A flat face through ``points`` ``[k, 3]``, seen from where they run counter-clockwise.

    The texture's rows run ``along`` a direction in the face (default: the first edge); it is
    stretched over the face or, with ``tile_m``, repeated.
    """
    corners = np.asarray(points, np.float64)
    rays = corners - corners[0]
    twist = rays[:-1].T @ rays[1:]
    normal = twist[1, 2] - twist[2, 1], twist[2, 0] - twist[0, 2], twist[0, 1] - twist[1, 0]
    u = _unit(rays[1] if along is None else along)
    v = _unit(
        (
            normal[1] * u[2] - normal[2] * u[1],
            normal[2] * u[0] - normal[0] * u[2],
            normal[0] * u[1] - normal[1] * u[0],
        )
    )
    outline = rays @ np.array((u, v)).T
    texels = repeated(texture, tile_m) if tile_m else stretched(texture, outline, flip)
    frame = plane(u, v, corners[0])
    return Face(frame, [outline], label, Layer.ONE_SIDED, texture, texels, tint)


def upright(
    foot: np.ndarray,
    across: np.ndarray,
    outline: np.ndarray,
    label: int,
    texture: int,
    *,
    tint: Tint = WHITE,
    tile_m: float | None = None,
    stencil: int = -1,
) -> Face:
    """A vertical face seen from both sides, standing at ``foot`` ``[3]``.

    Its outline ``[k, 2]`` is metres along the horizontal direction ``across`` ``[3]`` and up.
    """
    texels = repeated(texture, tile_m) if tile_m else stretched(texture, outline)
    frame = plane(across, (0, 0, 1), foot)
    return Face(frame, [outline], label, Layer.TWO_SIDED, texture, texels, tint, stencil)


def ground(
    contours: Sequence[np.ndarray],
    height: float,
    label: int,
    texture: int,
    *,
    tint: Tint = WHITE,
    tile_m: float = GROUND_TILE_M,
    layer: Layer = Layer.GROUND,
) -> Face:
    """A level face at ``height`` with world ``contours`` ``[k, 2]``; tiles join across faces."""
    anchor = np.floor(contours[0][0] / GROUND_TILE_M) * GROUND_TILE_M
    frame = plane((1, 0, 0), (0, 1, 0), (*anchor, height))
    texels = repeated(texture, tile_m)
    return Face(
        frame, [c - anchor for c in contours], label, layer, texture, texels, tint
    )  # fmt: skip
