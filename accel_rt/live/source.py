"""What a live source is: frames that arrive, and the pace of recorded ones.

A source is read by one thread, frame after frame, as fast as it delivers them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np

from accel_rt.flow.motion import Motion

_FAR_BEHIND_S = 1.0


@dataclass(frozen=True)
class LiveFrame:
    """A frame that has arrived, as :class:`~accel_rt.video.source.Frame` but not converted yet.

    ``captured_at`` is when it was taken, in seconds of ``time.monotonic``, as well as the source
    can know; ``pts`` the same in the source's time. ``picture()`` converts it to uint8 BGR
    ``[H, W, 3]``: frames that are dropped need not be. ``motion`` is
    what the video's compression says of how it moved since the frame before.
    """

    captured_at: float
    pts: Fraction
    picture: Callable[[], np.ndarray]
    motion: Motion | None = None


class LiveSource(Protocol):
    """An open source of frames. ``live`` ones are opened again when they end, others have an end.

    ``rate`` is the nominal number of frames a second, None where the source does not say;
    ``damaged`` counts frames or packets that could not be decoded.
    """

    name: str
    live: bool
    rate: float | None

    @property
    def damaged(self) -> int: ...

    def read(self) -> LiveFrame | None:
        """Wait for the next frame; None at the end.

        Raises :class:`~accel_rt.errors.InputError` where the source fails.
        """

    def resume(self) -> None:
        """Go on after time stood still: the next frames of a recording are due from now on."""

    def close(self) -> None:
        """Release the device, file or connection; a second call does nothing."""


OpenSource = Callable[[], LiveSource]


class Pace:
    """When frames of recorded material are due, were a camera to take them now.

    A reader that is far behind starts afresh: a camera would not wait for it either. So does one
    whose frames' times jump ahead by more than ``longest_s``, as where a stream's clock was set.
    """

    def __init__(self, longest_s: float = math.inf) -> None:
        self._longest_s = longest_s
        self._origin: float | None = None
        self._last = Fraction(0)

    def resume(self) -> None:
        """Count from now as if the last frame had just been due."""
        self._origin = time.monotonic() - float(self._last)

    def wait(self, pts: Fraction) -> float:
        """Wait until the frame of time ``pts`` is due, and return when that was."""
        now, jumps = time.monotonic(), pts - self._last > self._longest_s
        self._last = pts
        due = now if self._origin is None else self._origin + float(pts)
        if self._origin is None or jumps or now - due > _FAR_BEHIND_S:
            self._origin, due = now - float(pts), now
        if due > now:
            time.sleep(due - now)
        return due
