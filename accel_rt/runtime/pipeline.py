"""Decode, inference and output overlapped in threads, with a bounded number of frames in flight.

Inference runs in the caller's thread, where torch's own threads are set up; decoding and output
(rendering, encoding) have a thread each. Nothing here knows files or codecs: frames come from any
iterable, results go to any callable.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from queue import Empty, Full, Queue
from time import perf_counter
from typing import Any, Generic, TypeVar

from accel_rt.runtime.result import FrameResult, FrameStepper
from accel_rt.video.source import Frame

FRAMES_AHEAD = 2
"""Frames that wait in front of a stage: enough to overlap, few enough for 8K pictures."""

STAGES = ("decode", "flow", "network", "output", "render", "encode")
"""The stages a frame goes through, in order."""

_POLL_S = 0.1  # how soon a blocked stage sees that it should stop

T = TypeVar("T")


Output = Callable[[Frame, FrameResult], Mapping[str, float]]
"""Takes a frame and its result; returns the milliseconds it spent as ``render`` and ``encode``."""


def segment_frames(
    frames: Iterable[Frame],
    segmenter: FrameStepper,
    ahead: int = FRAMES_AHEAD,
    stop: threading.Event | None = None,
) -> Generator[tuple[Frame, FrameResult], None, None]:
    """Segment ``frames`` one by one, decoding up to ``ahead`` of them in a thread meanwhile.

    Results carry the decoding time as ``timings["decode"]``, in milliseconds. Iteration ends
    early once ``stop`` is set; an error of the source is raised here, after the frames before it.
    """
    waiting: deque[tuple[Frame, float]] = deque()

    def ready(results: Iterable[FrameResult]) -> Iterator[tuple[Frame, FrameResult]]:
        for result in results:
            frame, decode_ms = waiting.popleft()
            yield frame, replace(result, timings={"decode": decode_ms, **result.timings})

    with closing(_prefetch(frames, ahead, stop or threading.Event())) as decoded:
        try:
            for frame, decode_ms in decoded:
                waiting.append((frame, decode_ms))
                yield from ready(segmenter.push(frame.image_bgr, frame.pts, frame.motion))
        except Exception:
            yield from ready(segmenter.flush())
            raise
        yield from ready(segmenter.flush())


def run_pipeline(
    frames: Iterable[Frame],
    segmenter: FrameStepper,
    output: Output,
    on_row: Callable[[dict[str, Any]], None] | None = None,
    ahead: int = FRAMES_AHEAD,
    stop: threading.Event | None = None,
) -> None:
    """Segment ``frames`` and hand each to ``output`` in order, in a thread of its own.

    ``on_row`` gets a frame's timing row (see :func:`timing_row`) from that thread once ``output``
    has returned. Setting ``stop`` ends the run early: the frames segmented so far still reach
    ``output`` before this returns. The first error of any stage is raised here and ends the run
    at once. At most ``2 * ahead + 3`` frames are held at any time, and with look-ahead as many as
    the segmenter waits for.
    """

    def write(segmented: tuple[Frame, FrameResult]) -> None:
        frame, result = segmented
        times = output(frame, result)
        if on_row:
            on_row(timing_row(frame, replace(result, timings={**result.timings, **times})))

    with (
        closing(segment_frames(frames, segmenter, ahead, stop)) as segmented,
        _Worker(write, ahead) as worker,
    ):
        for item in segmented:
            worker.put(item)
        worker.finish()


def timing_row(frame: Frame, result: FrameResult) -> dict[str, Any]:
    """A frame's row of the timing log: ``frame``, ``pts_s``, ``kind``, milliseconds, ``flow``.

    A stage that did not run counts 0. ``total_ms`` is the sum over the stages: the work done for
    the frame. Stages of different frames overlap, so frames leave faster than that.
    """
    times = {stage: result.timings.get(stage, 0.0) for stage in STAGES}
    return {
        "frame": frame.index,
        "pts_s": float(frame.pts),
        "kind": result.kind,
        **{f"{stage}_ms": ms for stage, ms in times.items()},
        "total_ms": sum(times.values()),
        "flow": result.flow,
    }


@dataclass(frozen=True)
class _End:
    """Last entry of a queue: the producer is done, or failed with ``error``."""

    error: BaseException | None = None


def _prefetch(
    items: Iterable[T], ahead: int, stop: threading.Event
) -> Generator[tuple[T, float], None, None]:
    """Iterate ``items`` in a thread, up to ``ahead`` in advance; yields item and milliseconds."""
    queue: Queue[tuple[T, float] | _End] = Queue(ahead)
    abandoned = threading.Event()

    def work() -> None:
        try:
            for entry in _timed(items):
                if not _put(queue, entry, abandoned):
                    return
            _put(queue, _End(), abandoned)
        except BaseException as error:
            _put(queue, _End(error), abandoned)

    thread = threading.Thread(target=work, name="decode", daemon=True)
    thread.start()
    try:
        while (entry := _get(queue, stop)) is not None:
            if not isinstance(entry, _End):
                yield entry
            elif entry.error is None:
                return
            else:
                raise entry.error
    finally:
        abandoned.set()
        thread.join()


def _timed(items: Iterable[T]) -> Iterator[tuple[T, float]]:
    started = perf_counter()
    for item in items:
        yield item, (perf_counter() - started) * 1e3
        started = perf_counter()


class _Worker(Generic[T]):
    """Calls ``handle`` on items in a thread, in order, with at most ``size`` items waiting.

    Its error is raised by ``put`` or ``finish``. Leaving the context without ``finish`` drops what
    is waiting.
    """

    def __init__(self, handle: Callable[[T], None], size: int) -> None:
        self._handle = handle
        self._queue: Queue[T | _End] = Queue(size)
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="output", daemon=True)

    def __enter__(self) -> _Worker[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def put(self, item: T) -> None:
        """Hand over ``item``, waiting for room."""
        self._enqueue(item)

    def finish(self) -> None:
        """Wait until everything handed over is done."""
        self._enqueue(_End())
        self._thread.join()
        if self._error:
            raise self._error

    def _enqueue(self, item: T | _End) -> None:
        if not _put(self._queue, item, self._ended) and self._error:
            raise self._error

    def _work(self) -> None:
        try:
            while (item := _get(self._queue, self._ended)) is not None:
                if isinstance(item, _End):
                    return
                self._handle(item)
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()


def _put(queue: Queue[T], item: T, stop: threading.Event) -> bool:
    """Put ``item``, waiting for room; False once ``stop`` is set."""
    while not stop.is_set():
        try:
            queue.put(item, timeout=_POLL_S)
        except Full:
            continue
        return True
    return False


def _get(queue: Queue[T], stop: threading.Event) -> T | None:
    """The next item, waiting for it; None once ``stop`` is set."""
    while not stop.is_set():
        try:
            return queue.get(timeout=_POLL_S)
        except Empty:
            continue
    return None
