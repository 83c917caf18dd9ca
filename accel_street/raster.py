"""Which face each pixel shows: projection, clipping and depth.

A pixel shows the nearest face whose outline touches it. Faces at infinity and on the ground are
painted in order; all others are compared by inverse depth, which is linear in the pixel's
coordinates on a plane and so needs no approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from accel_street.atlas import atlas
from accel_street.camera import Pose
from accel_street.mesh import Layer, Mesh

NEAR_M = 0.3
HORIZON_M = 1000.0
_SMALLEST_PX = 1.0
_STENCIL_EDGE = 110
_SHIFT = 4
_GRAZING = 0.01
"""Planes seen at a smaller sine than this are as good as invisible and not drawn."""


@dataclass(frozen=True)
class Raster:
    """One frame's visibility.

    ``ids`` ``[H, W]`` (intp) index the mesh; ``shadow`` ``[H, W]`` is 255 where a shadow falls on
    the ground; ``to_plane`` ``[n, 3, 3]`` maps normalised image coordinates (x, y, 1) to
    (u, v, 1) / depth on each face; ``inverse_depth`` ``[n, 3]`` are each face's 1 / depth
    coefficients, zero at infinity.
    """

    ids: np.ndarray
    shadow: np.ndarray
    to_plane: np.ndarray
    inverse_depth: np.ndarray


def plane_to_image(frames: np.ndarray, infinite: np.ndarray, pose: Pose) -> np.ndarray:
    """``[n, 3, 3]`` from (u, v, 1) on each face to camera coordinates; finite ones get shifted."""
    shifted = frames.copy()
    shifted[~infinite, :, 2] -= pose.position
    return pose.rotation @ shifted


def inverse(matrices: np.ndarray) -> np.ndarray:
    """Inverses ``[n, 3, 3]``; singular matrices give zeros."""
    a, b, c = matrices[:, :, 0], matrices[:, :, 1], matrices[:, :, 2]
    rows = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], 1)
    determinant = np.einsum("ni,ni->n", rows[:, 0], a)
    scale = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=determinant != 0)
    return rows * scale[:, None, None]


def rasterise(mesh: Mesh, pose: Pose, intrinsics: np.ndarray, size: tuple[int, int]) -> Raster:
    """Find what a camera at ``pose`` sees; ``size`` is (height, width) in pixels."""
    height, width = size
    infinite = mesh.layer == Layer.BACKDROP
    to_image = plane_to_image(mesh.frames, infinite, pose)
    to_plane = inverse(to_image)
    inverse_depth = np.where(infinite[:, None], 0.0, to_plane[:, 2])
    to_pixel = np.linalg.inv(intrinsics)
    outlines = _Outlines(mesh, intrinsics @ to_image, to_image, size)

    ids = np.zeros(size, np.int32)
    shadow = np.zeros(size, np.uint8)
    outlines.paint(Layer.BACKDROP, ids)
    backdrop = ids.copy()
    outlines.paint(Layer.GROUND, ids)
    _keep_below_horizon(ids, backdrop, pose, to_pixel)
    outlines.paint(Layer.SHADOW, shadow, value=255)

    nearest = np.zeros(size, np.float32)
    pixel_depth = (inverse_depth @ to_pixel).astype(np.float32)
    xs = np.arange(width, dtype=np.float32)
    ys = np.arange(height, dtype=np.float32)[:, None]
    solid = outlines.faces(Layer.ONE_SIDED, Layer.TWO_SIDED)
    for face in solid[np.argsort(-outlines.nearest[solid], kind="stable")]:
        contours = outlines.contours(face)
        if not contours:
            continue
        x0, y0, x1, y1 = box = outlines.box(face, contours)
        if x0 >= x1 or y0 >= y1:
            continue
        region = nearest[y0:y1, x0:x1]
        if region.min() >= outlines.nearest[face]:
            continue  # all of it is behind what is drawn: near faces come first
        if mesh.stencil[face] >= 0:
            mask = _cut_out(
                mesh.stencil[face], outlines.bounds(face), to_plane[face] @ to_pixel, box
            )
        else:
            mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
            corner = (x0 << _SHIFT, y0 << _SHIFT)
            cv2.fillPoly(mask, [c - corner for c in contours], 1, shift=_SHIFT)
        # Pixels at the rim may have their centre outside the outline: stay within its depths.
        a, b, c = pixel_depth[face]
        depth = xs[x0:x1] * a + (ys[y0:y1] * b + c)
        np.maximum(depth, outlines.farthest[face], out=depth)
        np.minimum(depth, outlines.nearest[face], out=depth)
        seen = depth > region
        seen &= mask.view(bool)
        np.copyto(region, depth, where=seen)
        np.copyto(ids[y0:y1, x0:x1], face, where=seen)
    return Raster(ids.astype(np.intp), shadow, to_plane, inverse_depth)


def _keep_below_horizon(
    ids: np.ndarray, backdrop: np.ndarray, pose: Pose, to_pixel: np.ndarray
) -> None:
    """Give pixels that touch the ground, but whose centre looks over it, to the backdrop."""
    height, width = ids.shape
    a, b, c = -pose.rotation[:, 2] @ to_pixel / pose.position[2]
    inverse_ground = a * np.arange(width) + (b * np.arange(height) + c)[:, None]
    over = inverse_ground < 1 / HORIZON_M
    ids[over] = backdrop[over]


def _fixed(points: np.ndarray) -> np.ndarray:
    """Pixels in OpenCV's fixed point; far outside the frame they saturate."""
    return np.rint(np.clip(points, -1e6, 1e6) * (1 << _SHIFT)).astype(np.int32)


def _cut_out(
    stencil: int,
    bounds: tuple[np.ndarray, np.ndarray],
    to_plane: np.ndarray,
    box: tuple[int, int, int, int],
) -> np.ndarray:
    """The stencil of a face within the pixels ``box``: 1 inside, from the level that fits.

    ``bounds`` are the outline's lowest and highest (u, v), which the stencil spans.
    """
    x0, y0, x1, y1 = box
    (u0, v0), (u1, v1) = bounds
    pyramid = atlas().stencil_pyramids[stencil]
    corners = np.array(((x0, y0, 1), (x0, y1, 1))) @ to_plane.T
    tall = abs(np.subtract(*(corners[:, 1] / corners[:, 2])))
    shrink = pyramid[0].shape[0] * tall / (v1 - v0) / (y1 - y0)
    level = pyramid[int(np.clip(np.log2(max(shrink, 1.0)) + 0.3, 0, len(pyramid) - 1))]
    rows, columns = level.shape
    su, sv = columns / (u1 - u0), rows / (v1 - v0)
    to_texel = np.array(((su, 0, -u0 * su - 0.5), (0, -sv, v1 * sv - 0.5), (0, 0, 1)))
    shift = np.array(((1, 0, x0), (0, 1, y0), (0, 0, 1)))
    mask = cv2.warpPerspective(
        level,
        to_texel @ to_plane @ shift,
        (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    return (mask > _STENCIL_EDGE).view(np.uint8)


class _Outlines:
    """Projected outlines of a mesh and which of its faces can be seen."""

    def __init__(
        self, mesh: Mesh, to_pixels: np.ndarray, to_camera: np.ndarray, size: tuple[int, int]
    ) -> None:
        self._mesh = mesh
        self._contour_start = np.concatenate([[0], np.cumsum(mesh.contour_sizes)])
        self._face_start = np.concatenate([[0], np.cumsum(mesh.contour_counts)])
        start = self._contour_start[self._face_start]
        vertex_face = np.repeat(np.arange(len(mesh)), np.diff(start))
        u, v = mesh.vertices[:, :1], mesh.vertices[:, 1:]
        columns = to_pixels.transpose(2, 0, 1)[:, vertex_face]
        self._points = columns[0] * u + columns[1] * v + columns[2]
        depth = self._points[:, 2]
        near = np.where(mesh.layer == Layer.BACKDROP, 0.1, NEAR_M)
        closest = np.minimum.reduceat(depth, start[:-1])
        furthest = np.maximum.reduceat(depth, start[:-1])
        self._near, self._cut = near, closest < near
        self.nearest = (1 / np.maximum(closest, near)).astype(np.float32)
        self.farthest = (1 / np.maximum(furthest, near)).astype(np.float32)

        pixels = self._points[:, :2] / np.maximum(depth, 0.1)[:, None]
        self._fixed = _fixed(pixels)
        low = np.minimum.reduceat(pixels, start[:-1])
        high = np.maximum.reduceat(pixels, start[:-1])
        self._end = np.array(size[::-1])  # as (x, y)
        inside = (high > -0.5).all(1) & (low < self._end - 0.5).all(1)
        large = (high - low).max(1) > _SMALLEST_PX
        ahead = furthest > near
        self._visible = ahead & (self._cut | (inside & large)) & self._facing(to_camera)
        self._visible[0] = False
        boxes = np.concatenate([np.maximum(low, 0), np.minimum(high + 2, self._end)], 1)
        self._boxes = boxes.astype(np.int32).tolist()

    def _facing(self, to_camera: np.ndarray) -> np.ndarray:
        """Whether each face shows its front, and not edge-on."""
        normal = np.cross(to_camera[:, :, 0], to_camera[:, :, 1])
        origin = to_camera[:, :, 2]
        towards = -np.einsum("ni,ni->n", normal, origin)
        limit = _GRAZING * np.linalg.norm(origin, axis=1) * np.linalg.norm(normal, axis=1)
        layer = self._mesh.layer
        painted = layer <= Layer.SHADOW
        return painted | (towards > limit) | ((layer == Layer.TWO_SIDED) & (-towards > limit))

    def faces(self, *layers: Layer) -> np.ndarray:
        """Visible faces of ``layers``."""
        return np.flatnonzero(self._visible & np.isin(self._mesh.layer, layers))

    def paint(self, layer: Layer, image: np.ndarray, value: int | None = None) -> None:
        """Fill the visible faces of ``layer`` in order, with their index or ``value``."""
        for face in self.faces(layer):
            if contours := self.contours(face):
                color = int(face) if value is None else value
                cv2.fillPoly(image, contours, color, shift=_SHIFT)

    def bounds(self, face: int) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest (u, v) of a face's first contour."""
        first = self._face_start[face]
        span = slice(self._contour_start[first], self._contour_start[first + 1])
        vertices = self._mesh.vertices[span]
        return vertices.min(0), vertices.max(0)

    def contours(self, face: int) -> list[np.ndarray]:
        """Projected contours ``[k, 2]`` of a face, cut at the near plane, in fixed point."""
        found = []
        for contour in range(self._face_start[face], self._face_start[face + 1]):
            span = slice(self._contour_start[contour], self._contour_start[contour + 1])
            if not self._cut[face]:
                found.append(self._fixed[span])
                continue
            points = _clip(self._points[span], self._near[face])
            if len(points) > 2:
                found.append(_fixed(points[:, :2] / points[:, 2:]))
        return found

    def box(self, face: int, contours: list[np.ndarray]) -> tuple[int, int, int, int]:
        """The pixels x0:x1, y0:y1 that hold the face's ``contours``; may be empty."""
        if self._cut[face]:
            corners = np.concatenate(contours) / (1 << _SHIFT)
            low, high = np.maximum(corners.min(0), 0), np.minimum(corners.max(0) + 2, self._end)
            box = np.concatenate([low, np.maximum(low, high)]).astype(int).tolist()
        else:
            box = self._boxes[face]
        x0, y0, x1, y1 = box
        return x0, y0, x1, y1


def _clip(points: np.ndarray, near: float) -> np.ndarray:
    """The part of an outline ``[k, 3]`` (x z, y z, z) with z >= ``near``."""
    kept = []
    for start, end in zip(points, np.roll(points, -1, 0), strict=True):
        if start[2] >= near:
            kept.append(start)
        if (start[2] >= near) != (end[2] >= near):
            share = (near - start[2]) / (end[2] - start[2])
            kept.append(start + share * (end - start))
    return np.array(kept)
