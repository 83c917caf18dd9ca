"""Parts without networks or cameras, for tests of the live loop.

``python -m tests.live.fake ARGS...`` is ``accel-rt live ARGS...`` with :class:`FakeSegmenter`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from accel_rt.classes import CAMVID
from accel_rt.errors import InputError
from accel_rt.live.source import LiveFrame
from accel_rt.runtime.policy import FixedInterval, KeyframePolicy
from accel_rt.runtime.result import FrameKind, FrameResult
from accel_rt.runtime.settings import SegmenterSettings
from tests.stepper import Stepper
from tests.video.clips import picture

ROAD, CAR = CAMVID.names.index("road"), CAMVID.names.index("car")


class FakeSegmenter(Stepper):
    """Left half road, right half car; ``before_step`` is called with each frame."""

    classes = CAMVID

    def __init__(
        self,
        settings: SegmenterSettings | None = None,
        asynchronous: bool = False,
        before_step: Callable[[np.ndarray], object] = lambda frame: None,
    ) -> None:
        self.settings = settings or SegmenterSettings()
        self.asynchronous = asynchronous
        self.policy: KeyframePolicy = FixedInterval(self.settings.interval)
        self.resets = 0
        self.closed = False
        self._before_step = before_step
        self._index = self._since_keyframe = 0

    def reset(self) -> None:
        self.resets += 1
        self._index = self._since_keyframe = 0

    def describe(self) -> dict[str, Any]:
        return {"reference": self.settings.reference, "mode": self.settings.mode}

    def set_policy(self, policy: KeyframePolicy) -> None:
        self.policy = policy

    def close(self) -> None:
        self.closed = True

    def step(
        self, frame_bgr: np.ndarray, pts: Fraction | None = None, motion: object = None
    ) -> FrameResult:
        assert not self.closed
        self._before_step(frame_bgr)
        due = self.policy.decide(frame_bgr, self._since_keyframe).kind == "key"
        kind: FrameKind = "key" if due or self._index == 0 else "update"
        self._since_keyframe = 1 if kind == "key" else self._since_keyframe + 1
        labels = np.full(frame_bgr.shape[:2], ROAD, np.uint8)
        labels[:, frame_bgr.shape[1] // 2 :] = CAR
        self._index += 1
        return FrameResult(self._index - 1, pts, kind, labels, {"network": 1.0})


class ScriptedSource:
    """Delivers what it is given: pictures, errors to raise, and functions to call first."""

    rate: float | None = 25.0
    damaged = 0

    def __init__(
        self, script: Iterable[np.ndarray | Exception | Callable[[], object]], live: bool = True
    ) -> None:
        self.name = "scripted"
        self.live = live
        self.closed = False
        self._script = iter(script)
        self._frames = 0

    def read(self) -> LiveFrame | None:
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            if callable(step):
                step()
                continue
            self._frames += 1
            return LiveFrame(time.monotonic(), Fraction(self._frames, 25), lambda image=step: image)
        return None

    def resume(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Openings:
    """Opens one after the other: sources, or errors to raise; the last one again and again."""

    def __init__(self, *things: ScriptedSource | InputError) -> None:
        self._things = list(things)
        self.opened = 0

    def __call__(self) -> ScriptedSource:
        thing = self._things[min(self.opened, len(self._things) - 1)]
        self.opened += 1
        if isinstance(thing, InputError):
            raise thing
        return thing


def endless(number: int = 5, gap_s: float = 0.01) -> Iterable[np.ndarray]:
    """A camera that shows one of the numbered pictures for ever."""
    image = picture(number)
    while True:
        time.sleep(gap_s)
        yield image


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait for ``condition``, which another thread brings about."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def gate() -> tuple[threading.Event, Callable[[object], None]]:
    """An event, and a function that waits for it."""
    event = threading.Event()

    def wait(_: object = None) -> None:
        assert event.wait(20)

    return event, wait


if __name__ == "__main__":
    import accel_rt.runtime.load
    from accel_rt.cli.main import main

    accel_rt.runtime.load.load_segmenter = lambda settings, asynchronous, threads: FakeSegmenter(
        settings, asynchronous
    )
    main(["live", *sys.argv[1:]])
