"""Cameras of this machine through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from accel_rt.errors import InputError
from accel_rt.live.source import LiveFrame

_CLOCK_TRUST_S = 1.0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from writing to stderr about devices that it cannot open."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


class CameraSource:
    """Camera ``index``. Raises :class:`~accel_rt.errors.InputError` if it cannot be opened.

    Frames carry the driver's time where it counts on the same clock as ``time.monotonic``, as
    Video4Linux does; elsewhere the time at which they arrived.
    """

    live = True
    damaged = 0  # drivers do not tell

    def __init__(self, index: int, capture: Callable[[int], Any] = cv2.VideoCapture) -> None:
        self.name = f"camera {index}"
        with quiet_opencv():
            self._device = capture(index)
        if not self._device.isOpened():
            self._device.release()
            raise InputError(
                f"camera {index} cannot be opened: see 'accel-rt cameras' for those there are, and "
                f"whether another program uses it"
            )
        self._device.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        rate = self._device.get(cv2.CAP_PROP_FPS)
        self.rate: float | None = rate if rate > 0 else None
        self._started = time.monotonic()

    def read(self) -> LiveFrame | None:
        ok, image = self._device.read()
        now = time.monotonic()
        if not ok or image is None:
            raise InputError(f"{self.name} sends no frames any more")
        driver_s = self._device.get(cv2.CAP_PROP_POS_MSEC) / 1e3
        taken = driver_s if 0 <= now - driver_s < _CLOCK_TRUST_S else now
        pts = Fraction(taken - self._started).limit_denominator(1_000_000)
        frame: np.ndarray = image
        return LiveFrame(taken, pts, lambda: frame)

    def resume(self) -> None:
        """Nothing: a camera does not wait."""

    def close(self) -> None:
        self._device.release()
