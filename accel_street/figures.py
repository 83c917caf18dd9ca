"""People on foot and on bicycles: flat jointed figures whose limbs move.

A figure stands in a vertical plane across the road (y left, z up, seen along +x); parts nearer
the viewer have smaller x. Every part is rigid in its own moving frame, so its motion is exact.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from accel_street.atlas import atlas
from accel_street.mesh import BICYCLIST, PEDESTRIAN, Face, Layer, Mesh, mesh, rectangle
from accel_street.panels import Tint, repeated, stretched

CLOTHES_BGR = (
    (34, 34, 38),
    (60, 44, 36),
    (110, 70, 40),
    (50, 52, 120),
    (120, 120, 124),
    (200, 200, 204),
    (44, 44, 130),
    (56, 76, 58),
    (80, 104, 130),
    (60, 170, 190),
    (70, 70, 74),
)
_SEED = 5
SKIN_BGR = ((128, 156, 202), (96, 128, 178), (60, 82, 120))
HAIR_BGR = ((24, 26, 30), (40, 60, 86), (110, 130, 150), (70, 130, 170))


@dataclass(frozen=True)
class Joint:
    """How a part moves: where its joint is (y, z, x), how far it swings (rad) and lifts (share).

    ``phase`` shifts it within the stride.
    """

    y: float
    z: float
    x: float = 0.0
    swing: float = 0.0
    lift: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True)
class Figure:
    """A jointed figure; ``stride_s`` is the time of one cycle of its limbs."""

    mesh: Mesh
    joints: tuple[Joint, ...]
    stride_s: float

    def frames(self, time_s: float) -> np.ndarray:
        """Frames of its parts ``[n, 3, 3]`` around a foot point at the origin."""
        frames = np.zeros((len(self.joints), 3, 3))
        for frame, joint in zip(frames, self.joints, strict=True):
            wave = np.sin(2 * np.pi * time_s / self.stride_s + joint.phase)
            angle, shrink = joint.swing * wave, 1 - joint.lift * max(wave, 0.0)
            frame[:, 0] = 0, -np.cos(angle), np.sin(angle)
            frame[:, 1] = 0, np.sin(angle) * shrink, np.cos(angle) * shrink
            frame[:, 2] = joint.x, joint.y, joint.z
        return frames


def _color(rng: Generator, colors: tuple[tuple[int, int, int], ...]) -> Tint:
    b, g, r = colors[int(rng.integers(len(colors)))]
    return b / 128, g / 128, r / 128


def _oval(width: float, height: float, low: float) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    return np.stack(
        [width / 2 * np.cos(angles), low + height / 2 * (1 + np.sin(angles))], 1
    )  # fmt: skip


def _limb(top: float, bottom: float, length: float) -> np.ndarray:
    """A tapering outline hanging from the joint."""
    return np.array(((-bottom / 2, -length), (bottom / 2, -length), (top / 2, 0), (-top / 2, 0)))


def _build(
    label: int, parts: list[tuple[Joint, np.ndarray, Tint]], stride_s: float, wheels: int = 0
) -> Figure:
    """A figure from (joint, outline, tint); the first ``wheels`` parts are cut out as wheels."""
    matte = atlas().names["matte"][0]
    wheel = atlas().stencils["wheel"][0]
    faces = []
    for number, (_, outline, tint) in enumerate(parts):
        cut = number < wheels
        texels = stretched(matte, outline) if cut else repeated(matte, 0.7)
        faces.append(
            Face(np.eye(3), [outline], label, Layer.TWO_SIDED, matte, texels, tint,
                 wheel if cut else -1)
        )  # fmt: skip
    return Figure(mesh(faces), tuple(joint for joint, _, _ in parts), stride_s)


def pedestrian(rng: Generator, sideways: bool) -> Figure:
    """A person walking along the road, or across it when ``sideways``."""
    tall = rng.uniform(0.9, 1.08)
    coat, trousers = _color(rng, CLOTHES_BGR), _color(rng, CLOTHES_BGR[:6])
    skin, hair = _color(rng, SKIN_BGR), _color(rng, HAIR_BGR)
    stout = rng.uniform(0.85, 1.2) * (0.75 if sideways else 1.0)
    swing, lift = (0.5, 0.0) if sideways else (0.05, 0.13)
    hip, spread = 0.86 * tall, 0.02 if sideways else 0.095
    shoulder, reach = 1.43 * tall, 0.05 if sideways else 0.25 * stout
    hem = rng.choice((-0.05, 0.12, 0.35))
    torso = np.array(
        ((-0.19, -hem), (0.19, -hem), (0.17, 0.3), (0.235, 0.55), (0.08, 0.63), (-0.08, 0.63),
         (-0.235, 0.55), (-0.17, 0.3))
    ) * (stout, tall)  # fmt: skip
    leg, arm = _limb(0.19 * stout, 0.12, hip), _limb(0.13 * stout, 0.09, 0.6 * tall)
    parts = [
        (Joint(spread, hip, 0.02, swing, lift, 0.0), leg, trousers),
        (Joint(-spread, hip, 0.01, swing, lift, np.pi), leg, trousers),
        (Joint(0, 0.85 * tall), torso, coat),
        (Joint(reach, shoulder, -0.02, 0.7 * swing, 0.04, np.pi), arm, coat),
        (Joint(-reach, shoulder, -0.03, 0.7 * swing, 0.04, 0.0), arm, coat),
        (Joint(0, 1.47 * tall, -0.01), _oval(0.19, 0.26, 0.0), skin),
        (Joint(0, 1.47 * tall, -0.02), _oval(0.21, 0.16, 0.13), hair),
    ]
    if rng.random() < 0.35:
        bag = rectangle(-0.13, -0.2, 0.13, 0.16)
        parts.append((Joint(0.28, 0.8 * tall, -0.04), bag, _color(rng, CLOTHES_BGR)))
    return _build(PEDESTRIAN, parts, rng.uniform(0.95, 1.2))


def cyclist(rng: Generator, sideways: bool) -> Figure:
    """A rider on a bicycle, along the road or across it (to the right) when ``sideways``."""
    coat, trousers = _color(rng, CLOTHES_BGR), _color(rng, CLOTHES_BGR[:6])
    skin, helmet = _color(rng, SKIN_BGR), _color(rng, CLOTHES_BGR)
    metal, rubber = _color(rng, CLOTHES_BGR), (0.2, 0.2, 0.2)
    stride_s = rng.uniform(0.7, 1.1)
    if not sideways:
        torso = np.array(((-0.17, 0), (0.17, 0), (0.25, 0.42), (0.3, 0.2), (0.34, 0.22),
                          (0.25, 0.55), (-0.25, 0.55), (-0.34, 0.22), (-0.3, 0.2),
                          (-0.25, 0.42)))  # fmt: skip
        leg = _limb(0.17, 0.1, 0.8)
        parts = [
            (Joint(0, 0, 0.0), rectangle(-0.03, 0.0, 0.03, 0.7), rubber),
            (Joint(0, 0.98, 0.02), rectangle(-0.28, 0, 0.28, 0.05), metal),
            (Joint(0.1, 1.0, 0.01, 0.03, 0.28, 0.0), leg, trousers),
            (Joint(-0.1, 1.0, 0.01, 0.03, 0.28, np.pi), leg, trousers),
            (Joint(0, 0.93, -0.02), torso, coat),
            (Joint(0, 1.47, -0.01), _oval(0.19, 0.26, 0.0), skin),
            (Joint(0, 1.47, -0.03), _oval(0.23, 0.17, 0.12), helmet),
        ]
        return _build(BICYCLIST, parts, stride_s)
    tyre = rectangle(-0.34, -0.34, 0.34, 0.34)
    tubes = np.array(((0, 0), (0.3, 0.55), (0.88, 0.6), (0.95, 0.75), (0.8, 0.75), (0.84, 0.66),
                      (0.32, 0.6), (0.3, 0.68), (0.22, 0.68), (0.26, 0.55)))  # fmt: skip
    torso = np.array(((-0.12, -0.05), (0.14, -0.02), (0.5, 0.5), (0.3, 0.62)))
    arm = np.array(((-0.08, 0), (0.06, 0.02), (0.34, -0.4), (0.26, -0.44)))
    leg = _limb(0.18, 0.1, 0.72)
    parts = [
        (Joint(0.5, 0.34, 0.0), tyre, rubber),
        (Joint(-0.5, 0.34, 0.0), tyre, rubber),
        (Joint(0.5, 0.34, -0.01), tubes, metal),
        (Joint(0.22, 0.98, -0.03, 0.4, 0.2, 0.0), leg, trousers),
        (Joint(0.22, 0.98, 0.01, 0.4, 0.2, np.pi), leg, trousers),
        (Joint(0.22, 0.95, -0.02), torso, coat),
        (Joint(-0.15, 1.45, -0.04), arm, coat),
        (Joint(-0.25, 1.52, -0.02), _oval(0.21, 0.26, 0.0), skin),
        (Joint(-0.25, 1.52, -0.03), _oval(0.25, 0.16, 0.13), helmet),
    ]
    return _build(BICYCLIST, parts, stride_s, wheels=2)


@functools.lru_cache(maxsize=4)
def _crowd(draw: Callable[[Generator, bool], Figure], sideways: bool) -> tuple[Figure, ...]:
    rng = np.random.default_rng(_SEED)
    return tuple(draw(rng, sideways) for _ in range(40))


def someone(rng: Generator, riding: bool, sideways: bool) -> Figure:
    """A pedestrian or, ``riding``, a cyclist of the crowd that all drives share."""
    crowd = _crowd(cyclist if riding else pedestrian, sideways)
    return crowd[int(rng.integers(len(crowd)))]
