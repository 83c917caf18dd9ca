"""Training samples of procedural street drives, rendered once each and then kept in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from accel_rt.data.flow_files import FlowPair
from accel_rt.data.synthetic_motion import Snippet

if TYPE_CHECKING:
    from accel_street import StreetFrame

_RATE = 15  # frames per second of single frames and snippets


class StreetFrames:
    """Single labelled frames.

    There are ``pool`` of them, eight of each drive, 40 frames apart: enough to differ from one
    another, few enough that rendering does not hold up training. ``size`` is ``(height, width)``.
    """

    _PER_DRIVE, _APART, _FIRST_SEED = 8, 40, 1000

    def __init__(self, size: tuple[int, int] = (360, 480), pool: int = 480) -> None:
        self._size, self._pool = size, pool
        self._cache: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A frame uint8 BGR ``[H, W, 3]`` and its labels uint8 ``[H, W]``."""
        index = int(rng.integers(self._pool))
        if index not in self._cache:
            drive, place = divmod(index, self._PER_DRIVE)
            (frame,) = _render(self._FIRST_SEED + drive, self._size, 1, self._APART * place)
            self._cache[index] = frame.image_bgr, frame.labels
        return self._cache[index]


class StreetPictures:
    """The frames of :class:`StreetFrames` without their labels."""

    def __init__(self) -> None:
        self._frames = StreetFrames()

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """uint8 BGR ``[H, W, 3]``."""
        return self._frames.draw(rng)[0]


class StreetPairs:
    """Neighbouring frames with exact flow.

    ``pool`` pairs come from a quarter as many drives at 10, 15 or 30 frames a second, seeded from
    ``first_seed`` on; ``size`` is ``(height, width)``.
    """

    _PER_DRIVE = 4
    _RATES = (10, 15, 30)

    def __init__(
        self, size: tuple[int, int] = (288, 384), pool: int = 400, first_seed: int = 5000
    ) -> None:
        self._size, self._pool, self._first_seed = size, pool, first_seed
        self._cache: dict[int, list[StreetFrame]] = {}

    def draw(self, rng: np.random.Generator) -> FlowPair:
        return self.pair(int(rng.integers(self._pool)))

    def pair(self, index: int) -> FlowPair:
        """Pair ``index`` of the pool."""
        drive, place = divmod(index, self._PER_DRIVE)
        if drive not in self._cache:
            own = np.random.default_rng(self._first_seed + drive)
            seed, start = int(own.integers(2**31)), int(own.integers(300))
            rate = self._RATES[drive % len(self._RATES)]
            self._cache[drive] = _render(seed, self._size, self._PER_DRIVE + 1, start, rate)
        previous, current = self._cache[drive][place : place + 2]
        return FlowPair(previous.image_bgr, current.image_bgr, current.flow, ~current.occluded)


class StreetSnippets:
    """Runs of frames of ``pool`` drives of ``frames`` frames, one of each run labelled."""

    _FIRST_SEED = 2000

    def __init__(self, frames: int, size: tuple[int, int] = (360, 480), pool: int = 40) -> None:
        self._frames, self._size, self._pool = frames, size, pool
        self._cache: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}

    def draw(self, length: int, rng: np.random.Generator, after: int = 0) -> Snippet:
        """``length`` frames up to the labelled one and ``after`` more, at most as many as a drive
        has."""
        drive = int(rng.integers(self._pool))
        if drive not in self._cache:
            frames = _render(self._FIRST_SEED + drive, self._size, self._frames)
            self._cache[drive] = [(frame.image_bgr, frame.labels) for frame in frames]
        first = int(rng.integers(self._frames - length - after + 1))
        run = self._cache[drive][first : first + length + after]
        return Snippet([image for image, _ in run], run[length - 1][1], after=after)


def _render(
    seed: int, size: tuple[int, int], frames: int, start: int = 0, rate: float = _RATE
) -> list[StreetFrame]:
    from accel_street import StreetDrive

    return list(StreetDrive(seed=seed, size=size, rate=rate).frames(frames, start=start))
