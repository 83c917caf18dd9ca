"""Everything that moves: vehicles, people and cyclists, at any time without their history.

Each stream of movers is an endless row of slots that slides along the road. A slot's content is
drawn from its number, so any moment can be asked for directly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from accel_street.block import KERB_M
from accel_street.camera import GAINED_M, Camera, Driving, Road
from accel_street.figures import Figure, someone
from accel_street.mesh import Mesh, moved
from accel_street.style import Style
from accel_street.vehicles import vehicle

_ZERO_SLOT = 1 << 30


@dataclass(frozen=True)
class Mover:
    """Something that moves: its faces and where their frames are at a time in seconds."""

    mesh: Mesh
    frames: Callable[[float], np.ndarray]


@dataclass(frozen=True)
class Stream:
    """A row of slots ``gap_m`` apart, sliding at ``speed_mps``; ``d`` is its left offset.

    ``with_camera``: the row moves along with the camera, its speed on top.
    """

    d: float
    gap_m: float
    speed_mps: float
    share: float
    with_camera: bool = False


class Traffic:
    """All movers of a drive."""

    def __init__(
        self,
        seed: int,
        rng: Generator,
        road: Road,
        style: Style,
        camera: Camera,
        driving: Driving = "steady",
    ) -> None:
        self._seed = seed
        self._road = road
        self._style = style
        self._camera = camera
        self._overtaken = driving == "overtakes"
        self._vehicles = self._vehicle_streams(rng)
        self._walkers = self._walker_streams(rng)
        self._cyclists = self._cyclist_streams(rng)
        self._crossing_gap = style.walker_gap_m * 1.2 + 25
        # Drawing a mover costs more than placing it, and most stay in view for seconds.
        self._vehicle = functools.lru_cache(256)(self._draw_vehicle)
        self._figure = functools.lru_cache(256)(self._draw_figure)

    def _vehicle_streams(self, rng: Generator) -> list[Stream]:
        style = self._style
        gap = max(style.traffic_gap_m, 14.0)
        streams = []
        for lane in range(style.lanes):
            oncoming = -rng.uniform(5, 12)
            # Who overtakes on a road of two lanes needs the other one.
            share = 0.0 if self._overtaken and style.lanes == 1 else 0.75
            streams.append(Stream(style.lane_d(-1, lane), gap, oncoming, share))
        if style.lanes > 1 and not self._overtaken:
            streams.append(Stream(style.lane_d(1, 0), gap, rng.uniform(-2, 2), 0.6, True))
        return streams

    def _walker_streams(self, rng: Generator) -> list[Stream]:
        style = self._style
        streams = []
        for side in (1, -1):
            for row, direction in enumerate((1, -1)):
                out = style.half_m + 0.75 + row * min(0.7, style.pavement_m - 1.2)
                speed = direction * rng.uniform(0.9, 1.6)
                streams.append(Stream(side * out, style.walker_gap_m, speed, 0.8))
        return streams

    def _cyclist_streams(self, rng: Generator) -> list[Stream]:
        style = self._style
        out = style.lanes * style.lane_m - 0.45
        return [
            Stream(style.drive_side * way * out, style.cyclist_gap_m, way * rng.uniform(3, 6), 0.7)
            for way in (1, -1)
        ]

    def _rng(self, kind: int, stream: int, slot: int) -> Generator:
        return np.random.default_rng((self._seed, 7 + kind, stream, slot + _ZERO_SLOT))

    def _slots(self, stream: Stream, time_s: float, near: float, far: float) -> range:
        """Slots of ``stream`` between ``near`` and ``far`` metres ahead of the camera."""
        s = 0.0 if stream.with_camera else self._camera.travelled(time_s)
        origin = stream.speed_mps * time_s
        first = np.floor((s + near - origin) / stream.gap_m)
        last = np.ceil((s + far - origin) / stream.gap_m)
        return range(int(first), int(last))

    def _s(self, stream: Stream, slot: int, jitter: float, time_s: float) -> float:
        base = self._camera.travelled(time_s) if stream.with_camera else 0.0
        return base + (slot + jitter) * stream.gap_m + stream.speed_mps * time_s

    def _draw_vehicle(self, number: int, slot: int) -> tuple[Mesh, float, float]:
        """A vehicle, a number in 0..1 that says whether the slot is taken, and its jitter."""
        rng = self._rng(0, number, slot)
        return vehicle(rng), rng.random(), rng.uniform(-0.25, 0.2)

    def _draw_figure(
        self, kind: int, number: int, slot: int, share: float, sideways: bool
    ) -> tuple[Figure, float, float] | None:
        """A figure with its jitter along (share of the gap) and across (m) its stream."""
        rng = self._rng(kind, number, slot)
        if rng.random() > share:
            return None
        return someone(rng, kind == 2, sideways), rng.uniform(-0.4, 0.4), rng.uniform(-0.3, 0.3)

    def movers(self, time_s: float, reach_m: float) -> Iterator[Mover]:
        """All that may be seen at ``time_s`` up to ``reach_m`` ahead."""
        for number, stream in enumerate(self._vehicles):
            for slot in self._slots(stream, time_s, -8, reach_m):
                solid, chance, jitter = self._vehicle(number, slot)
                if chance < stream.share:
                    yield self._driving(solid, stream, slot, jitter)
        yield from self._queue(time_s, reach_m)
        for kind, streams in ((1, self._walkers), (2, self._cyclists)):
            for number, stream in enumerate(streams):
                for slot in self._slots(stream, time_s, -3, min(reach_m, 110)):
                    if figure := self._figure(kind, number, slot, stream.share, False):
                        yield self._along(*figure, stream, slot, KERB_M if kind == 1 else 0.0)
        yield from self._crossings(time_s)

    def _driving(self, solid: Mesh, stream: Stream, slot: int, jitter: float) -> Mover:
        turned = 0.0 if stream.d * self._style.drive_side > 0 else np.pi

        def frames(time_s: float) -> np.ndarray:
            s = self._s(stream, slot, jitter, time_s)
            where = np.append(self._road.point(s, stream.d), 0.0)
            return moved(solid.frames, float(self._road.heading(s)) + turned, where)

        return Mover(solid, frames)

    def _queue(self, time_s: float, reach_m: float) -> Iterator[Mover]:
        """Vehicles ahead in our lane, which keep their distance until we overtake them.

        There are five of them, or to be overtaken as many as there are up to ``reach_m``.
        """
        rng = np.random.default_rng((self._seed, 6))
        ahead = rng.uniform(9, 20) + rng.exponential(self._style.traffic_gap_m * 0.6)
        lane_d = self._style.lane_d(1, self._style.lanes - 1)
        first, end = 0, 5
        if self._overtaken:
            ahead = GAINED_M / 2
            first = int(self._camera.gained(time_s) // GAINED_M)
            end = first + int(reach_m // GAINED_M) + 1
        for number in range(end):
            solid = self._vehicle(len(self._vehicles), number)[0]
            rate, phase = rng.uniform(0.1, 0.4), rng.uniform(0, 2 * np.pi)

            def frames(
                time_s: float,
                solid: Mesh = solid,
                ahead: float = ahead,
                wave: tuple[float, float] = (rate, phase),
            ) -> np.ndarray:
                breathe = 2.0 * np.sin(wave[0] * time_s + wave[1])
                s = self._camera.travelled(time_s) + ahead + breathe - self._camera.gained(time_s)
                where = np.append(self._road.point(s, lane_d), 0.0)
                return moved(solid.frames, float(self._road.heading(s)), where)

            if number >= first:
                yield Mover(solid, frames)
            gap = 16.0 + rng.exponential(self._style.traffic_gap_m * 0.5)
            ahead += GAINED_M if self._overtaken else gap

    def _along(
        self, figure: Figure, along: float, across: float, stream: Stream, slot: int, height: float
    ) -> Mover:
        def frames(time_s: float) -> np.ndarray:
            s = self._s(stream, slot, along, time_s)
            where = np.append(self._road.point(s, stream.d + across), height)
            return moved(figure.frames(time_s), float(self._road.heading(s)), where)

        return Mover(figure.mesh, frames)

    def _crossings(self, time_s: float) -> Iterator[Mover]:
        """People and cyclists who cross ahead of us and are over before we arrive."""
        here = self._camera.travelled(time_s)
        gap = self._crossing_gap
        for slot in range(int(here // gap), int((here + 90) // gap) + 1):
            kind = 3 if self._rng(5, 0, slot).random() < 0.75 else 2
            figure = self._figure(kind, 9, slot, 0.75, True)
            if figure is not None:
                yield self._crossing(figure[0], (slot + 0.5 + figure[1]) * gap, slot)

    def _crossing(self, figure: Figure, s: float, slot: int) -> Mover:
        mirror = 1.0 if slot % 2 else -1.0
        verge = self._style.half_m + 1.0
        heading = float(self._road.heading(s))

        def frames(time_s: float) -> np.ndarray:
            ahead = s - self._camera.travelled(time_s)
            share = float(np.clip((ahead - 24.0) / 40.0, 0.0, 1.0))
            d = mirror * verge * (2 * share - 1)
            parts = figure.frames(mirror * d / 1.3)
            parts[:, 1] *= mirror
            return moved(parts, heading, np.append(self._road.point(s, d), 0.0))

        return Mover(figure.mesh, frames)
