"""A loop that makes moving pictures without a source or a network."""

from __future__ import annotations

import threading
import time
from fractions import Fraction
from functools import partial
from typing import get_args

import cv2
import numpy as np

from accel_rt.classes import CAMVID, ClassSet
from accel_rt.errors import OutputError, UsageError
from accel_rt.live.settings import LiveSettings
from accel_rt.live.stats import LivePicture, LiveStats, Percentiles, State
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.schedule import FrameKind
from accel_rt.runtime.settings import MODES, UPDATE_SCALES

UPDATES = ("efficientnet_lite0", "resnet18")


class FakeLoop:
    """Pictures of ``size`` (height, width) at ``fps``, each a flat colour that its index gives.

    ``handed_out`` lists the pictures asked for; ``fail_record`` makes ``record`` fail; ``fresh``
    is a loop that has not measured anything yet; ``noise`` makes pictures that JPEG cannot shrink.
    """

    def __init__(self, size: tuple[int, int] = (96, 160), fps: float = 50.0) -> None:
        self.size, self.fps = size, fps
        self.state: State = "running"
        self.message = ""
        self.settings = LiveSettings()
        self.recording: str | None = None
        self.fail_record = False
        self.fresh = False
        self.noise = self.snapshot_noise = False
        self.source = "fake camera"
        self.handed_out: list[int] = []
        self._start = time.monotonic()
        self._index = -1
        self._moved = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(1 / self.fps):
            if not self.settings.paused:
                with self._moved:
                    self._index += 1
                    self._moved.notify_all()

    @property
    def index(self) -> int:
        return self._index

    @property
    def classes(self) -> ClassSet:
        return CAMVID

    def choices(self) -> dict[str, tuple]:
        return {
            "mode": MODES,
            "update": UPDATES,
            "update_scale": UPDATE_SCALES,
            "classes": CAMVID.names,
        }

    def wait_picture(self, after_index: int = -1, timeout: float | None = None):
        with self._moved:
            if not self._moved.wait_for(lambda: self._index > after_index, timeout):
                return None
            index = self._index
        self.handed_out.append(index)
        return LivePicture(
            index,
            kind_of(index),
            noise(self.size) if self.noise else picture_of(index, self.size),
            time.monotonic(),
            FrameResult(index, Fraction(index), "update", np.zeros((1, 1), np.uint8)),
            np.zeros((1, 1, 3), np.uint8),
        )

    def stats(self) -> LiveStats:
        frames = self._index + 1
        return LiveStats(
            state="paused" if self.settings.paused and self.state == "running" else self.state,
            message=self.message,
            source=self.source,
            size=self.size,
            fps=None if self.fresh else self.fps,
            source_fps=self.fps,
            age_ms=None if self.fresh else Percentiles(20.0, 31.5, 40.25),
            frame_ms=Percentiles(11.0, 14.0, 19.0),
            stage_ms={"convert": 1.0, "flow": 3.0, "network": 6.5, "output": 0.5, "render": 1.5},
            frames=frames,
            keyframes=frames // 5,
            dropped=frames // 9,
            reconnects=0,
            class_share={name: 1 / len(CAMVID.names) for name in CAMVID.names},
            recording=self.recording,
            uptime_s=time.monotonic() - self._start,
            memory_mb=512.5,
            settings=self.settings,
            networks={"reference": "efficientnet_lite2", "device": "cpu"},
        )

    def change(self, name: str, value: object) -> None:
        settings = self.settings.changed(name, value)
        if settings.classes is not None:
            CAMVID.indices(settings.classes)
        self.settings = settings

    def snapshot(self) -> bytes:
        if self._index < 0:
            raise UsageError("there is no picture yet: wait for the first frame")
        make = noise if self.snapshot_noise else partial(picture_of, self._index)
        return cv2.imencode(".png", make(self.size))[1].tobytes()

    def record(self, on: bool) -> None:
        if on and self.fail_record:
            raise OutputError("cannot write live.mp4: the disk is full")
        self.recording = "/videos/live.mp4" if on else None


def kind_of(index: int) -> FrameKind:
    """Every kind of frame in turn."""
    kinds = get_args(FrameKind)
    return kinds[index % len(kinds)]


def picture_of(index: int, size: tuple[int, int]) -> np.ndarray:
    """A picture whose red level tells ``index`` modulo 16."""
    image = np.zeros((*size, 3), np.uint8)
    image[..., 2] = 16 * (index % 16)
    image[..., 0] = 90
    return image


def noise(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng().integers(0, 255, (*size, 3), np.uint8)
