"""Colour, motion and occlusion of every pixel from what it shows."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from accel_street.atlas import LEVELS, atlas
from accel_street.mesh import SKY, Layer, Mesh
from accel_street.raster import Raster, plane_to_image
from accel_street.scene import View
from accel_street.style import Light

_SAME_SURFACE = 5e-3
"""Relative difference of inverse depth above which two surfaces are not the same."""
_SHARPER = 0.35
"""How many mip levels finer than the texel footprint asks for: crisp rather than smooth."""
_SKY_HAZE = 9.0
_SKYLINE_M = 450.0


@dataclass(frozen=True)
class Grid:
    """Pixel coordinates of one image size and focal length, float32.

    ``x [1, W]`` and ``y [H, 1]`` are normalised, ``column`` and ``row`` in pixels; ``dither``
    ``[H, W]`` in 0..1 blends mip levels.
    """

    x: np.ndarray
    y: np.ndarray
    column: np.ndarray
    row: np.ndarray
    dither: np.ndarray
    focal_px: float


@functools.lru_cache(maxsize=4)
def _dither(size: tuple[int, int]) -> np.ndarray:
    """An even pattern of thresholds, float32 ``[H, W]`` in 0..1 (interleaved gradient noise)."""
    height, width = size
    ramp = 0.06711056 * np.arange(width) + 0.00583715 * np.arange(height)[:, None]
    return ((52.9829189 * (ramp % 1)) % 1).astype(np.float32)


def grid(size: tuple[int, int], focal_px: float, centre_px: tuple[float, float]) -> Grid:
    """The grid of a camera."""
    height, width = size
    column = np.arange(width, dtype=np.float32)[None]
    row = np.arange(height, dtype=np.float32)[:, None]
    return Grid(
        x=((np.arange(width) - centre_px[0]) / focal_px).astype(np.float32)[None],
        y=((np.arange(height) - centre_px[1]) / focal_px).astype(np.float32)[:, None],
        column=column,
        row=row,
        dither=_dither(size),
        focal_px=focal_px,
    )


def _linear(coefficients: np.ndarray, ids: np.ndarray, at: Grid) -> np.ndarray:
    """``a x + b y + c`` per pixel with each face's (a, b, c): float32 ``[H, W]``."""
    a, b, c = (np.ascontiguousarray(coefficients[:, k], np.float32) for k in range(3))
    value = a.take(ids)
    value *= at.x
    product = b.take(ids)
    product *= at.y
    value += product
    value += c.take(ids)
    return value


def colour(mesh: Mesh, raster: Raster, light: Light, at: Grid) -> np.ndarray:
    """The lit picture, float32 BGR ``[H, W, 3]`` around 0..255, before the sensor."""
    ids = raster.ids
    book = atlas()
    rect = book.rect[mesh.texture].astype(np.float64)
    su, sv, ou, ov = mesh.texels.T
    u_row = su[:, None] * raster.to_plane[:, 0] + ou[:, None] * raster.to_plane[:, 2]
    v_row = sv[:, None] * raster.to_plane[:, 1] + ov[:, None] * raster.to_plane[:, 2]
    nearness = np.maximum(_linear(raster.to_plane[:, 2], ids, at), 1e-6)
    distance = 1 / nearness
    u = _linear(u_row, ids, at) * distance
    v = _linear(v_row, ids, at) * distance
    for texel, size in ((u, rect[:, 2]), (v, rect[:, 3])):
        # Tiles repeat; pictures do not, and their margins take what falls just outside.
        repeat = np.where(book.tiled[mesh.texture], size, 0).astype(np.float32)
        per_texel = np.divide(1, repeat, out=np.zeros_like(repeat), where=repeat > 0)
        texel -= np.floor(texel * per_texel.take(ids)) * repeat.take(ids)
    u += rect[:, 0].astype(np.float32).take(ids)
    v += rect[:, 1].astype(np.float32).take(ids)

    # A plane's texel footprint is |det| / (inverse depth)^3 per unit of image area.
    area = np.abs(su * sv * np.linalg.det(raster.to_plane)) / at.focal_px**2
    base = (0.5 * np.log2(np.maximum(area, 1e-12)) - _SHARPER).astype(np.float32)
    level = base.take(ids) - 1.5 * np.log2(nearness) + at.dither - 0.5
    level = np.clip(np.rint(level), 0, LEVELS - 1).astype(np.intp)
    scale = (0.5 ** np.arange(LEVELS)).astype(np.float32).take(level)
    origin = book.level_origin - 0.5
    map_x = u * scale + origin[:, 0].take(level)
    map_y = v * scale + origin[:, 1].take(level)
    texture = cv2.remap(book.image, map_x, map_y, cv2.INTER_LINEAR)

    gain = _gain(mesh, light).astype(np.float32)
    clear = np.exp(distance * (-1 / _haze_length(mesh, light)).take(ids))
    light_left = clear * _shadow_factor(mesh, raster, light)
    picture = texture.astype(np.float32)
    picture *= gain.take(ids, axis=0)
    picture *= light_left[..., None]
    picture += (1 - clear)[..., None] * light.haze.astype(np.float32)
    return picture


def _haze_length(mesh: Mesh, light: Light) -> np.ndarray:
    """Distance over which haze takes most of a face's contrast; the backdrop counts in its own
    units: the skyline stands at distance 1, the sky at 1 / its elevation."""
    far = np.where(mesh.label == SKY, _SKY_HAZE, light.haze_m / _SKYLINE_M)
    return np.where(mesh.layer == Layer.BACKDROP, far, light.haze_m).astype(np.float32)


def _gain(mesh: Mesh, light: Light) -> np.ndarray:
    """Tint and light of each face, BGR ``[n, 3]``."""
    normal = np.cross(mesh.frames[:, :, 0], mesh.frames[:, :, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=1), 1e-9)[:, None]
    facing = np.clip(normal @ light.sun, 0, 1)
    facing = np.where(mesh.layer == Layer.TWO_SIDED, 0.5, facing)
    lit = light.ambient * (0.85 + 0.15 * normal[:, 2:]) + light.direct * facing[:, None]
    return mesh.tint * np.where((mesh.label == SKY)[:, None], 1.0, lit)


def _shadow_factor(mesh: Mesh, raster: Raster, light: Light) -> np.ndarray:
    """Share of light left by shadows on the ground, float32 ``[H, W]``."""
    soft = cv2.blur(raster.shadow, (3, 3)).astype(np.float32)
    soft *= (mesh.layer == Layer.GROUND).astype(np.float32).take(raster.ids)
    return 1 - soft * np.float32(light.shadow / 255)


def motion(view: View, raster: Raster, at: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Backward flow ``[H, W, 2]`` in pixels and each pixel's inverse depth one frame earlier."""
    ids = raster.ids
    infinite = view.mesh.layer == Layer.BACKDROP
    before = plane_to_image(view.before, infinite, view.pose_before)
    step = before @ raster.to_plane - np.eye(3)
    nearer = _linear(step[:, 2], ids, at)
    shrink = 1 / (1 + nearer)
    flow = np.empty((*ids.shape, 2), np.float32)
    for axis, normalised in enumerate((at.x, at.y)):
        shift = _linear(step[:, axis], ids, at)
        shift -= normalised * nearer
        shift *= shrink
        np.multiply(shift, np.float32(at.focal_px), out=flow[..., axis])
    return flow, _linear(raster.inverse_depth, ids, at) * shrink


def occluded(
    flow: np.ndarray, inverse_depth_before: np.ndarray, before: Raster, at: Grid
) -> np.ndarray:
    """Whether the point each pixel shows was out of sight one frame earlier: bool ``[H, W]``.

    It was in sight if the nearest pixel of that frame showed a surface through this very point.
    """
    height, width = inverse_depth_before.shape
    x, y = at.column + flow[..., 0], at.row + flow[..., 1]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    column = np.clip(np.rint(x), 0, width - 1).astype(np.intp)
    row = np.clip(np.rint(y), 0, height - 1).astype(np.intp)
    shown = before.ids.take(row * width + column)
    moved = Grid(
        at.x.ravel()[0] + x / np.float32(at.focal_px),
        at.y.ravel()[0] + y / np.float32(at.focal_px),
        at.column, at.row, at.dither, at.focal_px,
    )  # fmt: skip
    there = _linear(before.inverse_depth, shown, moved)
    apart = np.abs(there - inverse_depth_before)
    return ~inside | (apart > _SAME_SURFACE * np.maximum(inverse_depth_before, there))
