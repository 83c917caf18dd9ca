"""A street at a moment: the sky, the far skyline, the blocks in view and all that moves."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from accel_street.atlas import atlas
from accel_street.block import BLOCK_M, build_block
from accel_street.camera import Camera, Driving, Pose, Road
from accel_street.mesh import BUILDING, SKY, TREE, Face, Layer, Mesh, join, mesh, plane
from accel_street.panels import repeated
from accel_street.style import Light, Style, draw_light, draw_style
from accel_street.traffic import Traffic

REACH_M = 200.0
_ZERO_BLOCK = 1 << 30
_SKYLINE_FACES = 40


@dataclass(frozen=True)
class View:
    """What the camera sees at one time: the faces with their frames then, and its pose.

    The mesh's first face is the sky; its faces of :attr:`Layer.BACKDROP` lie at infinity (their
    frames are directions).
    """

    mesh: Mesh
    pose: Pose
    before: np.ndarray
    """Frames ``[n, 3, 3]`` of the same faces one frame earlier."""
    pose_before: Pose


class Scene:
    """A street drawn from ``seed``, with its camera (``size`` is (height, width) in pixels)."""

    def __init__(
        self,
        seed: int,
        size: tuple[int, int],
        speed_mps: float | None,
        driving: Driving = "steady",
    ) -> None:
        rng = np.random.default_rng((seed, 0))
        self._seed = seed
        self.style: Style = draw_style(rng)
        self.light: Light = draw_light(rng)
        self._road = Road(rng)
        drawn_speed = float(np.exp(rng.uniform(np.log(2.5), np.log(13))))
        speed = drawn_speed if speed_mps is None else speed_mps
        lane_d = self.style.lane_d(1, self.style.lanes - 1)
        lane_m = self.style.lane_m
        self.camera = Camera(rng, self._road, lane_d, size, speed, driving, lane_m)
        self._traffic = Traffic(seed, rng, self._road, self.style, self.camera, driving)
        self._backdrop = mesh([_sky(self.light), *_skyline(rng, self.style)])
        self._block = functools.lru_cache(24)(self._build_block)

    def _build_block(self, number: int) -> Mesh:
        rng = np.random.default_rng((self._seed, 1, number + _ZERO_BLOCK))
        return build_block(rng, self._road, self.style, self.light, number)

    def view(self, time_s: float, earlier_s: float) -> View:
        """The scene at ``time_s``, with everything's place at ``earlier_s``."""
        pose = self.camera.pose(time_s)
        first = int((pose.s - 4.0) // BLOCK_M)
        last = int((pose.s + REACH_M) // BLOCK_M)
        still = [self._backdrop, *(self._block(n) for n in range(last, first - 1, -1))]
        movers = list(self._traffic.movers(time_s, REACH_M))
        moving = [mover.mesh.placed(mover.frames(time_s)) for mover in movers]
        frames_before = [m.frames for m in still]
        frames_before += [mover.frames(earlier_s) for mover in movers]
        return View(
            join([*still, *moving]),
            pose,
            np.concatenate(frames_before),
            self.camera.pose(earlier_s),
        )


def _sky(light: Light) -> Face:
    """The whole sky as one plane of clouds at infinity, overhead."""
    frame = plane((1, 0, 0), (0, 1, 0), (0, 0, 1))
    outline = np.zeros((3, 2))
    texture = atlas().names["clouds"][light.clouds]
    tint = (float(light.sky[0]), float(light.sky[1]), float(light.sky[2]))
    return Face(frame, [outline], SKY, Layer.BACKDROP, texture, repeated(texture, 3.5), tint)


def _skyline(rng: Generator, style: Style) -> list[Face]:
    """Distant trees and roofs all round the horizon, at infinity."""
    names = atlas().names
    faces = []
    step = 2 * np.pi / _SKYLINE_FACES
    half = np.tan(step / 2) * 1.02
    for number in range(_SKYLINE_FACES):
        azimuth = number * step
        toward = np.array((np.cos(azimuth), np.sin(azimuth), 0.0))
        frame = plane((np.sin(azimuth), -np.cos(azimuth), 0), (0, 0, 1), toward)
        top = rng.uniform(0.012, 0.05) + 0.012 * np.abs(rng.normal(0, 1, 12))
        u = np.linspace(half, -half, 12)
        outline = np.concatenate([[(-half, -0.05), (half, -0.05)], np.stack([u, top], 1)])
        wood = rng.random() < 0.6
        if not wood:
            outline[2:, 1] = np.repeat(top[::3], 3)
        texture = names["foliage"][0] if wood else names["brick"][0]
        tint = style.foliage if wood else (0.75, 0.78, 0.85)
        label = TREE if wood else BUILDING
        texels = repeated(texture, 0.15)
        faces.append(Face(frame, [outline], label, Layer.BACKDROP, texture, texels, tint))
    return faces
