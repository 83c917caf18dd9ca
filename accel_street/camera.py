"""The road's centre line and the camera that drives along it.

World axes: x and y span the ground, z points up; metres. Positions along the road are given by
arc length ``s`` (forward) and offset ``d`` (to the left of the centre line). Camera axes: x right,
y down, z forward; normalised image coordinates are x/z and y/z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.random import Generator

PERIOD_M = 4096
Driving = Literal["steady", "stops", "overtakes"]
DRIVINGS: tuple[Driving, ...] = get_args(Driving)
STOP_EVERY_S, STANDING = 8.0, 0.4
OVERTAKE_EVERY_S, GAINED_M = 8.0, 26.0
_TURN_RAD = 0.5


class Road:
    """A centre line with gentle bends, known at any arc length.

    Its heading repeats every ``PERIOD_M`` metres, so one table gives exact positions everywhere.
    """

    def __init__(self, rng: Generator) -> None:
        bend = rng.uniform(0.1, 1.0)
        self._order = np.array([8, 13, 21, 31])
        self._amplitude = bend * rng.normal(0, 1, 4) * np.array((0.2, 0.12, 0.06, 0.03))
        self._phase = rng.uniform(0, 2 * np.pi, 4)
        heading = self.heading(np.arange(PERIOD_M) + 0.5)
        steps = np.stack([np.cos(heading), np.sin(heading)], -1)
        self._table = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])

    def heading(self, s: np.ndarray | float) -> np.ndarray:
        """Direction of the road at ``s`` in radians, counter-clockwise from the x axis."""
        angle = np.asarray(s, np.float64)[..., None] * (2 * np.pi / PERIOD_M)
        return (self._amplitude * np.sin(angle * self._order + self._phase)).sum(-1)

    def point(self, s: np.ndarray | float, d: np.ndarray | float) -> np.ndarray:
        """World x, y of arc length ``s`` and left offset ``d``: ``[..., 2]``."""
        s = np.asarray(s, np.float64)
        lap, rest = np.divmod(s, PERIOD_M)
        whole = np.minimum(rest.astype(np.int64), PERIOD_M - 1)
        start = self._table[whole]
        centre = start + (rest - whole)[..., None] * (self._table[whole + 1] - start)
        centre = centre + lap[..., None] * self._table[-1]
        heading = self.heading(s)
        left = np.stack([-np.sin(heading), np.cos(heading)], -1)
        return centre + np.asarray(d, np.float64)[..., None] * left


@dataclass(frozen=True)
class Pose:
    """Where the camera is: ``rotation`` maps world to camera axes, ``position`` is its centre."""

    rotation: np.ndarray
    position: np.ndarray
    s: float


class Camera:
    """A forward-looking camera on a moving car, deterministic at any time.

    ``speed_mps`` is the mean speed; with 0 the camera stands perfectly still. One that ``stops``
    does so for the first :data:`STANDING` of every :data:`STOP_EVERY_S` seconds; for the rest it
    drives faster, and turns aside and back, to the left and to the right by turns. One that
    ``overtakes`` pulls out by ``lane_m`` towards the middle every :data:`OVERTAKE_EVERY_S` seconds,
    gains :data:`GAINED_M` on its lane's other vehicles, and pulls in again.
    """

    def __init__(
        self,
        rng: Generator,
        road: Road,
        lane_d: float,
        size: tuple[int, int],
        speed_mps: float,
        driving: Driving = "steady",
        lane_m: float = 0.0,
    ) -> None:
        self._road = road
        self._driving = driving
        self._out_d = -np.sign(lane_d) * lane_m
        self._lane_d = lane_d
        self._speed = speed_mps
        self._surge = rng.uniform(0.0, 0.9)
        self._surge_rate = rng.uniform(0.12, 0.35)
        self._start = rng.uniform(0, PERIOD_M)
        self._height = float(np.clip(rng.normal(1.35, 0.2), 1.0, 2.2))
        self._pitch = rng.normal(-0.01, 0.025)
        self._yaw = rng.normal(0, 0.02)
        self._shake = min(speed_mps / 8.0, 1.0)
        self._sway_rate = rng.uniform(0.2, 9.0, 8) * np.array((0.1, 0.1, 0.5, 0.7, 0.3, 0.5, 1, 1))
        self._phase = rng.uniform(0, 2 * np.pi, 9)
        height, width = size
        self.focal_px = 0.5 * width / np.tan(0.5 * np.radians(rng.uniform(50, 68)))
        self.centre_px = ((width - 1) / 2, (height - 1) / 2 + height * rng.normal(0, 0.02))

    def travelled(self, time_s: float) -> float:
        """Arc length reached at ``time_s``: speed swells and ebbs but never turns negative."""
        time_s = self._own_time(time_s)
        rate, phase = self._surge_rate, self._phase[8]
        swell = (np.cos(phase) - np.cos(rate * time_s + phase)) * self._surge / rate
        return self._start + self._speed * (time_s + swell)

    def _own_time(self, time_s: float) -> float:
        """The time that the camera moves by, which stands still where it stops."""
        if self._driving != "stops":
            return time_s
        count, driven = _since_stop(time_s)
        return STOP_EVERY_S * (count + _smooth(driven))

    def _turned(self, time_s: float) -> float:
        """By how much the camera is turned aside, in radians to the left."""
        if self._driving != "stops":
            return 0.0
        count, driven = _since_stop(time_s)
        return float(_TURN_RAD * np.cos(np.pi * count) * np.sin(np.pi * driven) ** 2)

    def gained(self, time_s: float) -> float:
        """Metres gained on the vehicles of its lane by overtaking them."""
        if self._driving != "overtakes":
            return 0.0
        count, part = divmod(time_s / OVERTAKE_EVERY_S, 1.0)
        return GAINED_M * (count + _smooth((part - 0.25) / 0.5))

    def _pulled_out(self, time_s: float) -> float:
        """How far beside its lane the camera is to overtake, as a left offset in metres."""
        if self._driving != "overtakes":
            return 0.0
        part = time_s / OVERTAKE_EVERY_S % 1.0
        return self._out_d * (_smooth((part - 0.1) / 0.25) - _smooth((part - 0.7) / 0.25))

    def pose(self, time_s: float) -> Pose:
        """The camera at ``time_s`` seconds."""
        s, turned = self.travelled(time_s), self._turned(time_s)
        pulled_out = self._pulled_out(time_s)
        time_s = self._own_time(time_s)
        wave = self._shake * np.sin(self._sway_rate * time_s + self._phase[:8])
        d = self._lane_d + pulled_out + 0.25 * wave[0]
        yaw = self._road.heading(s) + self._yaw + turned + 0.012 * wave[1] + 0.002 * wave[2]
        pitch = self._pitch + 0.004 * wave[3] + 0.0025 * wave[6]
        roll = 0.006 * wave[4] + 0.0015 * wave[5]
        height = self._height + 0.015 * wave[7]
        forward = np.array((np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch),
                            -np.sin(pitch)))  # fmt: skip
        right = np.array((np.sin(yaw), -np.cos(yaw), 0.0))
        down = np.cross(forward, right)
        right, down = (
            np.cos(roll) * right + np.sin(roll) * down,
            np.cos(roll) * down - np.sin(roll) * right,
        )
        position = np.append(self._road.point(s, d), height)
        return Pose(np.stack([right, down, forward]), position, s)

    def intrinsics(self) -> np.ndarray:
        """``[3, 3]`` from normalised image coordinates to pixels (centres at integers)."""
        (cx, cy), f = self.centre_px, self.focal_px
        return np.array(((f, 0, cx), (0, f, cy), (0, 0, 1)))


def _smooth(part: float) -> float:
    """0 to 1 as ``part`` is, beginning and ending gently."""
    part = min(max(part, 0.0), 1.0)
    return part * part * (3 - 2 * part)


def _since_stop(time_s: float) -> tuple[float, float]:
    """How many stops are over, and which share of the drive to the next one, 0 to 1."""
    count, part = divmod(time_s / STOP_EVERY_S, 1.0)
    return count, max(0.0, part - STANDING) / (1 - STANDING)
