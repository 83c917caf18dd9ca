"""The live loop: the newest frame of a source, segmented and shown to whoever waits for it."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from accel_rt.classes import ClassSet
from accel_rt.errors import UsageError
from accel_rt.live.black import BlackPictures
from accel_rt.live.capture import Capture
from accel_rt.live.delay import DelayLine
from accel_rt.live.networks import FrameSegmenter, LiveNetworks, LoadSegmenter
from accel_rt.live.recorder import Recorder, RecordingLimits, Recordings
from accel_rt.live.settings import LiveSettings
from accel_rt.live.source import LiveFrame, OpenSource
from accel_rt.live.sources import source_opener
from accel_rt.live.stats import LivePicture, LiveStats, Meter, State, memory_mb
from accel_rt.palette import recolor
from accel_rt.redact import redact
from accel_rt.runtime.result import FrameResult
from accel_rt.runtime.settings import SegmenterSettings
from accel_rt.runtime.style import OverlayStyle
from accel_rt.video.overlay import class_shares

_POLL_S = 0.1
_DAMAGE_SHOWN_S = 3.0
_DEFAULT_RATE = Fraction(25)
_FIRST_PICTURE_S = 5.0  # that record() waits for it


@dataclass(frozen=True)
class _Taken:
    """A frame that is being segmented: uint8 BGR ``[H, W, 3]``, and how long converting took."""

    frame: LiveFrame
    frame_bgr: np.ndarray
    convert_ms: float


class LiveLoop:
    """Segments a live source in threads of its own and keeps the newest picture.

    ``source`` is a camera (``0``, ``/dev/video0``), a URL, or a file, folder or glob of images
    that is played at its own pace, again and again with ``repeat``. ``networks`` holds the choices
    that cannot be changed while it runs (reference network, flow, device, precision, size);
    ``settings`` those that can, which without it begin as ``networks`` has them.
    Frames that come while one is being worked on replace each other: the loop always goes on with
    the newest, so delay does not build up.

    ``load`` makes the segmenter and ``open_source`` opens the source; both have good defaults.
    ``recording`` is the file that :meth:`record` writes to, with a number from the second time
    on; None names it by date and time. ``limits`` say how much may be recorded; ``palette`` is as
    for :func:`~accel_rt.palette.recolor`. ``reading`` holds those of
    :class:`~accel_rt.video.limits.Limits` that are not to be the source's own, by name.
    ``failure`` is the error that ended the run, or None; ``recordings`` tells what was recorded.
    """

    def __init__(
        self,
        source: str | int | Path,
        settings: LiveSettings | None = None,
        networks: SegmenterSettings | None = None,
        *,
        repeat: bool = False,
        recording: Path | None = None,
        limits: RecordingLimits | None = None,
        load: LoadSegmenter | None = None,
        open_source: OpenSource | None = None,
        palette: str | None = None,
        reading: dict[str, Any] | None = None,
    ) -> None:
        self._source = redact(str(source))
        # A palette may be a file: it is read once.
        self._recolor = lru_cache(maxsize=8)(partial(recolor, palette=palette))
        networks = networks or SegmenterSettings()
        self._settings = settings or LiveSettings.of(networks)
        self._networks = LiveNetworks(networks, load)
        self._capture = Capture(open_source or source_opener(source, repeat, **(reading or {})))
        self.recordings = Recordings(recording, limits or RecordingLimits())
        self._line = DelayLine[_Taken]()
        self._recorder: Recorder | None = None
        self._record_first = False  # whether to begin recording with the first picture
        self._meter = Meter()
        self._picture: LivePicture | None = None
        self._shares: dict[str, float] = {}
        self._pictures = 0
        self._changed = threading.Condition()
        self._changing = threading.Lock()
        self._changed_settings = threading.Event()
        self._black = BlackPictures()
        self._drawn: tuple[Any, ...] = ()
        self._stopping = threading.Event()
        self._ended = False
        self._started_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self.failure: Exception | None = None

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Load the networks, open the source and begin.

        Raises :class:`~accel_rt.errors.AccelError` if either cannot be done.
        """
        self._started_at = time.monotonic()
        self._capture.start()
        try:
            self._networks.prepare(self._settings)
            self._check_classes(self._settings)
            while not self._capture.wait_open(_POLL_S):
                pass
            if self._capture.failure:
                raise self._capture.failure
        except BaseException:
            self.stop()
            raise
        # What is loaded stays: without it, collecting garbage does not hold up a frame.
        gc.collect()
        gc.freeze()
        self._thread.start()

    def stop(self) -> None:
        """End the run and complete the recording; a second call does nothing."""
        self._stopping.set()
        self._capture.stop()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self.record(False)
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._networks.close()
        gc.unfreeze()

    def __enter__(self) -> LiveLoop:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- viewers ---------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether no more pictures will come."""
        return self._ended

    @property
    def classes(self) -> ClassSet | None:
        """The classes that are told apart; None before :meth:`start`."""
        classes = self._networks.classes
        return None if classes is None else self._recolor(classes)

    def wait_picture(
        self, after_index: int = -1, timeout: float | None = None
    ) -> LivePicture | None:
        """The newest picture if its index is above ``after_index``, waiting for it.

        Any number of viewers may wait; one that is slow misses pictures and slows nobody. None
        after ``timeout`` seconds, or at once when the run has ended without a newer picture.
        """

        def newer() -> bool:
            return self._picture is not None and self._picture.index > after_index

        with self._changed:
            self._changed.wait_for(lambda: newer() or self._ended, timeout)
            return self._picture if newer() else None

    def snapshot(self) -> bytes:
        """The newest picture as PNG. Raises :class:`UsageError` if there is none yet."""
        picture = self._picture
        if picture is None:
            raise UsageError("there is no picture yet: wait for the first frame")
        done, data = cv2.imencode(".png", picture.image_bgr)
        assert done
        return data.tobytes()

    def stats(self) -> LiveStats:
        """Numbers of this moment; cheap enough to ask for many times a second."""
        with self._changed:
            picture, recorder = self._picture, self._recorder
            capture, meter = self._capture, self._meter
            return LiveStats(
                state=self._state(),
                message=redact(self._message()),
                source=capture.name or self._source,
                size=None if picture is None else _size(picture.frame_bgr),
                fps=meter.fps(),
                source_fps=capture.rate() or capture.nominal_rate,
                age_ms=meter.age_ms(),
                frame_ms=meter.frame_ms(),
                stage_ms=meter.stage_ms(),
                frames=meter.frames,
                keyframes=meter.keyframes,
                dropped=capture.dropped,
                reconnects=capture.reconnects,
                class_share=dict(self._shares),
                recording=str(recorder.path) if recorder and not recorder.failure else None,
                uptime_s=round(time.monotonic() - self._started_at, 3),
                memory_mb=round(memory_mb(), 1),
                settings=self._settings,
                networks=self._networks.describe(self._settings),
                damaged=capture.damaged,
            )

    def _state(self) -> State:
        if self._ended:
            return "ended"
        if self._capture.trouble or self._capture.is_silent():
            return "reconnecting"
        return "paused" if self._settings.paused else "running"

    def _message(self) -> str:
        if self.failure:
            return str(self.failure)
        if self._recorder is not None and self._recorder.failure:
            return str(self._recorder.failure)
        if self._capture.trouble:
            return self._capture.trouble
        if self._capture.is_silent() and not self._ended:
            return f"no frame for {self._capture.silent_s():.0f} s"
        if self._black.lasting:
            return "the picture is black"
        damaged_at = self._capture.damaged_at
        if damaged_at is not None and time.monotonic() - damaged_at < _DAMAGE_SHOWN_S:
            return f"the stream is damaged: {self._capture.damaged} frames skipped so far"
        return ""

    # -- controls --------------------------------------------------------------------------

    @property
    def settings(self) -> LiveSettings:
        """The settings in force."""
        return self._settings

    def choices(self) -> dict[str, tuple[Any, ...]]:
        """The values that ``mode``, ``update``, ``update_scale`` and ``classes`` can take."""
        return self._networks.choices()

    def change(self, name: str, value: Any) -> None:
        """Change a setting of :class:`LiveSettings`; it takes effect between frames.

        New networks are loaded in the caller's thread while the loop goes on with the old ones.
        Raises :class:`~accel_rt.errors.UsageError` with one sentence for a bad name or value.
        """
        with self._changing:
            if self._ended:
                raise UsageError("the run has ended: nothing can be changed any more")
            before, settings = self._settings, self._settings.changed(name, value)
            self._check_classes(settings)
            self._networks.prepare(settings, before)
            self._settings = settings
            self._changed_settings.set()

    def record(self, on: bool) -> None:
        """Begin or end recording what is shown; asking for what is so already does nothing.

        A recording begins with the first picture, where there is none yet, and anew after one that
        failed. Raises :class:`~accel_rt.errors.AccelError` if the file cannot be written.
        """
        with self._changing:
            recorder = self._recorder
            self._record_first = False
            if on and recorder is not None and recorder.failure is None:
                return
            if recorder is not None:
                with self._changed:
                    self._recorder = None
                recorder.close()
            if not on:
                return
            self.wait_picture(timeout=_FIRST_PICTURE_S)
            with self._changed:
                picture, self._record_first = self._picture, self._picture is None
            if picture is None:
                return
            rate = Fraction(self._capture.nominal_rate or _DEFAULT_RATE).limit_denominator(1001)
            recorder = Recorder(self.recordings, _size(picture.image_bgr), rate)
            with self._changed:  # what is shown now is the first; no other picture comes between
                shown, self._recorder = self._picture or picture, recorder
                recorder.write(shown.image_bgr, shown.captured_at)

    def _check_classes(self, settings: LiveSettings) -> None:
        if settings.classes is not None and self.classes is not None:
            self.classes.indices(settings.classes)

    # -- the loop --------------------------------------------------------------------------

    def _run(self) -> None:
        generation, stood_still = 1, False
        segmenter: FrameSegmenter | None = None
        try:
            while not self._stopping.is_set():
                taken = self._capture.take(_POLL_S)
                before, segmenter = segmenter, self._networks.use()
                if before is not None and segmenter is not before:
                    self._line.clear()
                if taken is None and self._capture.ended:
                    for shown, result in self._line.flush(segmenter.flush()):
                        self._present(shown, result, segmenter)
                    self.failure = self._capture.failure
                    return
                if taken is not None and not self._settings.paused:
                    frame, opened = taken
                    if opened != generation or stood_still:
                        generation, stood_still = opened, False
                        self._restart(segmenter)
                    self._show(frame, segmenter)
                stood_still = stood_still or self._settings.paused
                if self._changed_settings.is_set() and self._settings.paused:
                    self._show_again(self._recolor(segmenter.classes))
        except Exception as error:
            self.failure = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _show(self, frame: LiveFrame, segmenter: FrameSegmenter) -> None:
        self._changed_settings.clear()
        started = time.perf_counter()
        frame_bgr = frame.picture()
        converted = time.perf_counter()
        if self._black.ends(frame_bgr, frame.captured_at):
            self._restart(segmenter)
        self._draw(segmenter)
        results = segmenter.push(frame_bgr, frame.pts, frame.motion)
        taken = _Taken(frame, frame_bgr, 1e3 * (converted - started))
        for shown, result in self._line.push(taken, results, self._networks.delay(self._settings)):
            self._present(shown, result, segmenter)

    def _draw(self, segmenter: FrameSegmenter) -> None:
        """Have pictures come with their colours, as the settings want them, where it does that."""
        how = segmenter, self._settings.alpha, self._settings.classes
        if how != self._drawn:
            classes = self._recolor(segmenter.classes)
            segmenter.draw(OverlayStyle(classes, self._settings).overlay)
            self._drawn = how

    def _restart(self, segmenter: FrameSegmenter) -> None:
        """The next frame is the first of a video; those that still wait are forgotten."""
        segmenter.reset()
        self._line.clear()

    def _present(self, taken: _Taken, result: FrameResult, segmenter: FrameSegmenter) -> None:
        frame, frame_bgr = taken.frame, taken.frame_bgr
        segmented = time.perf_counter()
        image_bgr, shares = self._render(frame_bgr, result, self._recolor(segmenter.classes))
        stages = {
            "convert": taken.convert_ms,
            **result.timings,
            "render": 1e3 * (time.perf_counter() - segmented),
        }
        with self._changed:
            self._meter.add(result.kind, time.monotonic(), frame.captured_at, stages)
            self._shares = shares
        self._publish(
            LivePicture(
                self._pictures, result.kind, image_bgr, frame.captured_at, result, frame_bgr
            )
        )

    def _show_again(self, classes: ClassSet) -> None:
        """The picture that stands still, with changed colours."""
        self._changed_settings.clear()
        picture = self._picture
        if picture is not None:
            undrawn = replace(picture.result, picture=None)
            image_bgr, _ = self._render(picture.frame_bgr, undrawn, classes)
            self._publish(replace(picture, index=self._pictures, image_bgr=image_bgr))

    def _render(
        self, frame_bgr: np.ndarray, result: FrameResult, classes: ClassSet
    ) -> tuple[np.ndarray, dict[str, float]]:
        shares = class_shares(result.labels, len(classes))
        style = OverlayStyle(classes, self._settings)
        image_bgr = result.picture
        if image_bgr is None:
            image_bgr = style.blend(frame_bgr, result.labels)
        image_bgr = style.finish(image_bgr, frame_bgr, result.labels, shares)
        return image_bgr, {classes.names[label]: share for label, share in shares.items()}

    def _publish(self, picture: LivePicture) -> None:
        with self._changed:
            self._pictures += 1
            self._picture = picture
            self._changed.notify_all()
            recorder, record_first = self._recorder, self._record_first
        if record_first:
            self.record(True)
        elif recorder is not None:
            recorder.write(picture.image_bgr, picture.captured_at)


def _size(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
