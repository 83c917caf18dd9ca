"""Pictures and figures on their way to the viewers, without a hold on the loop."""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from accel_rt.live.stats import LivePicture
from accel_rt.live.web.loop_view import LoopView
from accel_rt.runtime.schedule import FrameKind

_LOG = logging.getLogger(__name__)

STATS_INTERVAL_S = 0.5
HISTORY_S = 120.0
HISTORY_FIGURES = ("fps", "source_fps", "age_ms", "stage_ms")
_PICTURE_POLL_S = 0.2
_PICTURE_PAUSE_S = 0.05
_KINDS: dict[FrameKind, int] = {"update": 0, "key": 1, "carry": 2}
_FIGURES_S = 2.0
_HEADER = struct.Struct("<IfB3x")  # index, age in ms when sent, kind


@dataclass(frozen=True)
class Limits:
    """What viewers may cost.

    ``max_viewers`` at once; a picture is sent as JPEG of ``quality`` 1..100, at most
    ``max_side_px`` large; a viewer has at most ``in_flight`` pictures that it has not shown, and
    is dropped when one takes ``stall_s``.
    """

    max_viewers: int = 8
    quality: int = 80
    max_side_px: int = 1280
    in_flight: int = 2
    stall_s: float = 8.0


@dataclass(frozen=True)
class Encoded:
    """A picture as it is sent."""

    index: int
    kind: FrameKind
    captured_at: float
    jpeg: bytes

    def message(self) -> bytes:
        age_ms = 1000 * (time.monotonic() - self.captured_at)
        return _HEADER.pack(self.index & 0xFFFFFFFF, age_ms, _KINDS[self.kind]) + self.jpeg


def encode(picture: LivePicture, limits: Limits) -> Encoded:
    """``picture`` as JPEG, reduced to what ``limits`` allow."""
    image_bgr: np.ndarray = picture.image_bgr
    height, width = image_bgr.shape[:2]
    scale = limits.max_side_px / max(height, width)
    if scale < 1:
        size = (round(width * scale), round(height * scale))
        image_bgr = cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", image_bgr, (cv2.IMWRITE_JPEG_QUALITY, limits.quality))
    return Encoded(picture.index, picture.kind, picture.captured_at, jpeg.tobytes())


class Viewer:
    """One viewer: what it has been sent and what it has shown; ``cut`` drops its connection.

    A viewer acknowledges each picture after showing it. That bounds what lies in network buffers,
    so a slow network costs pictures, not delay, and tells the delay up to the viewer's screen.
    """

    def __init__(self, limits: Limits, cut: Callable[[], None]) -> None:
        self.cut = cut
        self._limits = limits
        self._unshown: deque[tuple[int, float, float]] = deque()  # index, sent_at, captured_at
        self._shown: deque[tuple[float, float]] = deque(maxlen=300)  # shown_at, delay in s
        self._room = asyncio.Event()
        self._room.set()

    async def room(self) -> None:
        """Wait until the viewer can take a picture."""
        await self._room.wait()

    def sent(self, picture: Encoded) -> None:
        self._unshown.append((picture.index, time.monotonic(), picture.captured_at))
        if len(self._unshown) >= self._limits.in_flight:
            self._room.clear()

    def shown(self, index: int) -> None:
        """The viewer has shown picture ``index``, and with it all before."""
        now = time.monotonic()
        while self._unshown and self._unshown[0][0] <= index:
            _, _, captured_at = self._unshown.popleft()
            self._shown.append((now, now - captured_at))
        if len(self._unshown) < self._limits.in_flight:
            self._room.set()

    def stalled(self) -> bool:
        """Whether a picture has been on its way for too long."""
        limit_s = self._limits.stall_s
        return bool(self._unshown) and time.monotonic() - self._unshown[0][1] > limit_s

    def figures(self) -> dict[str, float | None]:
        """Pictures shown per second and their delay over the last two seconds."""
        since = time.monotonic() - _FIGURES_S
        delays_ms = [1000 * delay for shown_at, delay in self._shown if shown_at >= since]
        if not delays_ms:
            return {"fps": 0.0, "delay_p50_ms": None, "delay_p95_ms": None}
        p50, p95 = np.percentile(delays_ms, (50, 95))
        return {
            "fps": round(len(delays_ms) / _FIGURES_S, 1),
            "delay_p50_ms": round(float(p50), 1),
            "delay_p95_ms": round(float(p95), 1),
        }


@dataclass
class Counts:
    """Viewers so far, of whom some ``dropped`` for stalling; ``refused`` came when it was full."""

    served: int = 0
    dropped: int = 0
    refused: int = 0
    encoded: int = 0


class Hub:
    """Takes pictures and figures from the loop once for all viewers.

    A picture is encoded only while a viewer waits for one, and only the newest. The loop is called
    from two threads of the hub's own; everything else runs in the server's event loop.
    """

    def __init__(self, loop: LoopView, limits: Limits) -> None:
        self.limits = limits
        self.counts = Counts()
        self.history: deque[dict[str, Any]] = deque(maxlen=round(HISTORY_S / STATS_INTERVAL_S))
        self._loop = loop
        self._viewers: set[Viewer] = set()
        self._newest: Encoded | None = None
        self._wanted = asyncio.Event()
        self._published = asyncio.Event()
        self._ticked = asyncio.Event()
        self._stats_json = "null"
        self._threads = ThreadPoolExecutor(2, "accel-rt-web")
        self._tasks: list[asyncio.Task[None]] = []
        self._event_loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._event_loop = asyncio.get_running_loop()
        self._tasks = [asyncio.create_task(self._pump()), asyncio.create_task(self._tick())]
        for task in self._tasks:
            task.add_done_callback(_tell_failure)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False)

    def join(self, viewer: Viewer) -> bool:
        """Take ``viewer`` in; False where there are too many already."""
        if len(self._viewers) >= self.limits.max_viewers:
            self.counts.refused += 1
            return False
        self._viewers.add(viewer)
        self.counts.served += 1
        return True

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)

    def drop(self, viewer: Viewer) -> None:
        """Cut a viewer that does not keep up."""
        if viewer in self._viewers:
            self.leave(viewer)
            self.counts.dropped += 1
            viewer.cut()

    def cut_all(self) -> None:
        """Cut every viewer; may be called from any thread."""
        if self._event_loop is not None:
            self._event_loop.call_soon_threadsafe(self._cut_all)

    def _cut_all(self) -> None:
        for viewer in list(self._viewers):
            viewer.cut()

    async def next_picture(self, after_index: int) -> Encoded:
        """The newest picture after ``after_index``, as soon as there is one."""
        while True:
            published = self._published
            self._wanted.set()
            await published.wait()
            if self._newest is not None and self._newest.index > after_index:
                return self._newest

    async def next_stats(self, viewer: Viewer) -> str:
        """Wait for the next figures: those of all, and of ``viewer``, as JSON."""
        await self._ticked.wait()
        return f'{{"stats": {self._stats_json}, "viewer": {json.dumps(viewer.figures())}}}'

    def summary(self) -> dict[str, int]:
        """What the server itself counts."""
        return {
            "viewers": len(self._viewers),
            "max_viewers": self.limits.max_viewers,
            **asdict(self.counts),
        }

    async def _pump(self) -> None:
        """Encode the newest picture whenever one is wanted."""
        event_loop = asyncio.get_running_loop()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            newest = await event_loop.run_in_executor(self._threads, self._encode_next)
            if newest is None:
                await asyncio.sleep(_PICTURE_PAUSE_S)  # an ended loop answers at once
            else:
                self._newest = newest
                self.counts.encoded += 1
            self._published.set()
            self._published = asyncio.Event()

    def _encode_next(self) -> Encoded | None:
        after_index = -1 if self._newest is None else self._newest.index
        picture = self._loop.wait_picture(after_index, _PICTURE_POLL_S)
        return None if picture is None else encode(picture, self.limits)

    async def _tick(self) -> None:
        """Take the loop's figures for all viewers, and drop viewers that stall."""
        event_loop = asyncio.get_running_loop()
        while True:
            stats = asdict(await event_loop.run_in_executor(self._threads, self._loop.stats))
            self.history.append({name: stats[name] for name in HISTORY_FIGURES})
            self._stats_json = json.dumps({**stats, "server": self.summary()}, default=str)
            self._ticked.set()
            self._ticked = asyncio.Event()
            for viewer in list(self._viewers):
                if viewer.stalled():
                    self.drop(viewer)
            await asyncio.sleep(STATS_INTERVAL_S)


def _tell_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _LOG.error("the live page has stopped: %s", error, exc_info=error)
