"""Flat textured faces in space, kept as arrays so that a frame projects them all at once.

A face lies in a plane given by ``frame`` ``[3, 3]``, whose columns are the plane's u axis, v axis
and origin: the point (u, v) is ``frame @ (u, v, 1)``. Its outline is one or more contours of
(u, v) points, filled by the even-odd rule. ``u x v`` is the outward normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from accel_rt.classes import CAMVID, IGNORE_LABEL

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(
    len(CAMVID)
)
SHADOW = IGNORE_LABEL
"""Label of faces that only darken the ground."""


class Layer(IntEnum):
    """How a face hides others: painted in order (backdrop, ground) or by depth (the rest)."""

    BACKDROP = 0
    GROUND = 1
    SHADOW = 2
    ONE_SIDED = 3
    TWO_SIDED = 4


@dataclass(frozen=True)
class Face:
    """One flat face.

    ``contours``: arrays ``[k, 2]``; ``texture`` and ``stencil`` index the atlas (stencil -1:
    none, else it spans the outline's bounding box, its last row at the lowest v); ``texels``:
    (u scale, v scale, u offset, v offset) from metres to texels; ``tint`` multiplies the texture,
    BGR.
    """

    frame: np.ndarray
    contours: Sequence[np.ndarray]
    label: int
    layer: Layer
    texture: int
    texels: tuple[float, float, float, float]
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    stencil: int = -1


@dataclass(frozen=True)
class Mesh:
    """Many faces: n faces, c contours, m vertices.

    ``frames [n, 3, 3]``, ``vertices [m, 2]``, ``contour_sizes [c]``, ``contour_counts [n]``,
    ``label``, ``layer``, ``texture``, ``stencil`` ``[n]``, ``texels [n, 4]``, ``tint [n, 3]``.
    """

    frames: np.ndarray
    vertices: np.ndarray
    contour_sizes: np.ndarray
    contour_counts: np.ndarray
    label: np.ndarray
    layer: np.ndarray
    texture: np.ndarray
    stencil: np.ndarray
    texels: np.ndarray
    tint: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def placed(self, frames: np.ndarray) -> Mesh:
        """The same faces elsewhere."""
        return replace(self, frames=frames)


def mesh(faces: Sequence[Face]) -> Mesh:
    """Collect ``faces`` (at least one)."""
    contours = [contour for face in faces for contour in face.contours]
    return Mesh(
        frames=np.stack([face.frame for face in faces]),
        vertices=np.concatenate(contours).astype(np.float64),
        contour_sizes=np.array([len(contour) for contour in contours]),
        contour_counts=np.array([len(face.contours) for face in faces]),
        label=np.array([face.label for face in faces], np.uint8),
        layer=np.array([face.layer for face in faces], np.int8),
        texture=np.array([face.texture for face in faces]),
        stencil=np.array([face.stencil for face in faces]),
        texels=np.array([face.texels for face in faces], np.float64),
        tint=np.array([face.tint for face in faces], np.float64),
    )


def join(meshes: Sequence[Mesh]) -> Mesh:
    """All faces of ``meshes`` in order."""
    return Mesh(
        *(np.concatenate([getattr(m, name) for m in meshes]) for name in Mesh.__annotations__)
    )


def rectangle(u0: float, v0: float, u1: float, v1: float) -> np.ndarray:
    """An outline ``[4, 2]``."""
    return np.array(((u0, v0), (u1, v0), (u1, v1), (u0, v1)), np.float64)


def plane(
    u_axis: Sequence[float] | np.ndarray,
    v_axis: Sequence[float] | np.ndarray,
    origin: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """A frame from its columns."""
    return np.stack([np.asarray(a, np.float64) for a in (u_axis, v_axis, origin)], 1)


def moved(frames: np.ndarray, heading: float, position: np.ndarray) -> np.ndarray:
    """``frames [n, 3, 3]`` turned by ``heading`` about z, then shifted to ``position`` ``[3]``."""
    c, s = np.cos(heading), np.sin(heading)
    turned = np.array(((c, -s, 0), (s, c, 0), (0, 0, 1))) @ frames
    turned[:, :, 2] += position
    return turned
