"""Frames that wait for their results, shown one for each that comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from accel_rt.runtime.result import FrameResult

T = TypeVar("T")


class DelayLine(Generic[T]):
    """Joins frames with results that may come later and several at a time.

    Frames leave ``delay`` frames late, at the pace at which they come.
    """

    def __init__(self) -> None:
        self._frames: deque[T] = deque()
        self._results: deque[FrameResult] = deque()

    def clear(self) -> None:
        """Forget what waits."""
        self._frames.clear()
        self._results.clear()

    def push(
        self, frame: T, results: Sequence[FrameResult], delay: int
    ) -> Iterator[tuple[T, FrameResult]]:
        """Take the next frame, and the results that are ready now; what is to be shown."""
        self._frames.append(frame)
        self._results.extend(results)
        while len(self._frames) > delay and self._results:
            yield self._frames.popleft(), self._results.popleft()

    def flush(self, results: Sequence[FrameResult]) -> Iterator[tuple[T, FrameResult]]:
        """Everything that waits, of which these are the last results."""
        self._results.extend(results)
        while self._frames and self._results:
            yield self._frames.popleft(), self._results.popleft()
