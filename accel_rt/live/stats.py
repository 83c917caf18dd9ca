"""What a live run tells about itself: numbers, and the pictures it shows."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from accel_rt.live.settings import LiveSettings
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.schedule import FrameKind

State = Literal["running", "paused", "reconnecting", "ended"]

WINDOW = 300
"""Frames that percentiles and rates are taken over."""


@dataclass(frozen=True)
class Percentiles:
    """Of the last :data:`WINDOW` frames, in the unit of what was measured."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class LivePicture:
    """A picture as it is shown.

    ``index`` counts the pictures of a run from 0; ``kind`` is that of the frame; ``image_bgr`` is
    the overlay, uint8 ``[H, W, 3]``, and must not be drawn on; ``captured_at`` is when the frame
    was taken, in seconds of ``time.monotonic``; ``frame_bgr`` is that frame without colours.
    """

    index: int
    kind: FrameKind
    image_bgr: np.ndarray
    captured_at: float
    result: FrameResult
    frame_bgr: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """The class of every pixel, uint8 ``[H, W]``."""
        return self.result.labels


@dataclass(frozen=True)
class LiveStats:
    """A live run at one moment; ``dataclasses.asdict`` makes it ready for JSON.

    - ``state``: ``running``, ``paused``, ``reconnecting`` or ``ended``; ``message`` says why.
    - ``source``: its name; ``size``: ``(height, width)`` in pixels, None before the first frame.
    - ``fps``: pictures shown a second; ``source_fps``: frames a second that the source delivers.
    - ``age_ms``: from a frame's capture to its picture; ``frame_ms``: segmenting and rendering
      of one frame; ``stage_ms``: mean milliseconds of each stage.
    - ``frames``, ``keyframes``: shown so far, and how many of them brought new reference
      features; ``dropped``: frames of the source that were not shown because newer ones had
      come, or because a thing took too long; ``reconnects``: how often the source came back.
    - ``damaged``: frames or packets that could not be decoded and were skipped.
    - ``class_share``: share of the newest picture, 0 to 1, by class name.
    - ``recording``: the path of the file being written, or None.
    - ``memory_mb``: resident memory of the process, in MiB.
    - ``networks``: what runs: networks, device, precision, threads, flow, and ``delay_frames``, by
      how many frames pictures come late because they wait for a keyframe to come.

    ``fps``, ``source_fps`` and the percentiles are None until they are known.
    """

    state: State
    message: str
    source: str
    size: tuple[int, int] | None
    fps: float | None
    source_fps: float | None
    age_ms: Percentiles | None
    frame_ms: Percentiles | None
    stage_ms: dict[str, float]
    frames: int
    keyframes: int
    dropped: int
    reconnects: int
    class_share: dict[str, float]
    recording: str | None
    uptime_s: float
    memory_mb: float
    settings: LiveSettings
    networks: dict[str, Any]
    damaged: int = 0


@dataclass
class Meter:
    """Rolling measurements of the frames shown; not thread-safe."""

    frames: int = 0
    keyframes: int = 0
    _shown_at: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _age_ms: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _frame_ms: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _stages: deque[Mapping[str, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def add(
        self, kind: FrameKind, shown_at: float, captured_at: float, stage_ms: Mapping[str, float]
    ) -> None:
        """Count a frame that was captured and shown at these times of ``time.monotonic``."""
        self.frames += 1
        self.keyframes += kind == "key"
        self._shown_at.append(shown_at)
        self._age_ms.append(1e3 * (shown_at - captured_at))
        self._frame_ms.append(sum(stage_ms.values()))
        self._stages.append(stage_ms)

    def fps(self) -> float | None:
        """Frames a second over the window."""
        return rate(self._shown_at)

    def age_ms(self) -> Percentiles | None:
        return percentiles(self._age_ms)

    def frame_ms(self) -> Percentiles | None:
        return percentiles(self._frame_ms)

    def stage_ms(self) -> dict[str, float]:
        """Mean milliseconds of every stage that ran within the window."""
        names = dict.fromkeys(name for stages in self._stages for name in stages)
        count = len(self._stages)
        return {
            name: round(sum(stages.get(name, 0.0) for stages in self._stages) / count, 3)
            for name in names
        }


def rate(times: deque[float]) -> float | None:
    """Events a second between the first and the last of ``times``; None for fewer than two."""
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return (len(times) - 1) / (times[-1] - times[0])


def percentiles(values: deque[float]) -> Percentiles | None:
    """p50, p95 and p99 of ``values``, to microseconds; None if there are none."""
    if not values:
        return None
    return Percentiles(*(round(float(v), 3) for v in np.percentile(list(values), (50, 95, 99))))


def memory_mb() -> float:
    """Resident memory of this process in MiB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
