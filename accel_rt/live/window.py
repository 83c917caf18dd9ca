"""A live run in a window of the desktop (OpenCV)."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from accel_rt.errors import AccelError, UsageError
from accel_rt.files import create
from accel_rt.live.hud import draw_panel, hud_lines
from accel_rt.live.loop import LiveLoop
from accel_rt.live.recorder import free_path
from accel_rt.live.settings import LiveSettings
from accel_rt.live.stats import WINDOW, LivePicture, percentiles
from accel_rt.live.window_process import CLOSED, WindowProcess
from accel_rt.runtime.settings import MODES, UPDATE_SCALES
from accel_rt.video.output import output_errors

KEYS = {
    "q": "quit",
    "space": "pause",
    "s": "snapshot",
    "r": "record",
    "m": "mode",
    "u": "update scale",
    "[ ]": "interval",
    "- +": "alpha",
    "l": "legend",
    "b": "side by side",
    "h": "numbers",
    "?": "keys",
}
"""What the keys do, for help texts."""

_ESCAPE = 27
_WAIT_S = 0.03  # how long a key press may wait for the next picture
_NOTE_S = 3.0


def has_display() -> bool:
    """Whether there seems to be a desktop to show a window on."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def open_window(title: str) -> WindowProcess:
    """A window; :class:`~accel_rt.errors.UsageError` with one sentence if there can be none."""
    try:
        return WindowProcess(title)
    except OSError as error:
        raise UsageError(str(error)) from error


class LiveWindow:
    """Shows a running loop until the user quits or closes the window, or the loop ends.

    ``folder`` is where snapshots go.
    """

    def __init__(self, loop: LiveLoop, window: WindowProcess, folder: Path | None = None) -> None:
        self._loop, self._window = loop, window
        self._folder = folder or Path()
        self._show_numbers = True
        self._note: tuple[str, ...] = ()
        self._note_until = 0.0
        self._age_ms: deque[float] = deque(maxlen=WINDOW)
        self._workers = ThreadPoolExecutor(1, "window")
        self._actions: dict[int, Callable[[], None]] = {
            ord(" "): lambda: self._toggle("paused"),
            ord("s"): self._snapshot,
            ord("r"): self._record,
            ord("m"): lambda: self._next("mode", MODES),
            ord("u"): lambda: self._next("update_scale", UPDATE_SCALES),
            ord("["): lambda: self._change("interval", self._settings.interval - 1),
            ord("]"): lambda: self._change("interval", self._settings.interval + 1),
            ord("-"): lambda: self._change_alpha(-0.1),
            ord("+"): lambda: self._change_alpha(0.1),
            ord("="): lambda: self._change_alpha(0.1),
            ord("l"): lambda: self._toggle("legend"),
            ord("b"): lambda: self._toggle("side_by_side"),
        }

    def run(self, stop: threading.Event) -> None:
        """Show pictures and act on keys until ``stop`` is set or one of the ends is reached."""
        with self._workers:
            shown: LivePicture | None = None
            while not stop.is_set():
                fresh = self._loop.wait_picture(-1 if shown is None else shown.index, _WAIT_S)
                if fresh is None and self._loop.ended:
                    return
                shown = fresh or shown
                key = self._window.show(None if shown is None else self._draw(shown))
                if fresh is not None and not self._settings.paused:
                    self._age_ms.append(1e3 * (time.monotonic() - fresh.captured_at))
                if key in (ord("q"), _ESCAPE, CLOSED):
                    return
                self._press(key)

    def _draw(self, picture: LivePicture) -> np.ndarray:
        image = picture.image_bgr.copy()
        lines = []
        if self._show_numbers:
            lines = hud_lines(self._loop.stats(), picture.kind, percentiles(self._age_ms))
        if self._note and time.monotonic() < self._note_until:
            lines += self._note
        if lines:
            draw_panel(image, lines)
        return image

    def _press(self, key: int) -> None:
        if key == ord("h"):
            self._show_numbers = not self._show_numbers
        elif key == ord("?"):
            keys = [f"{name} {what}" for name, what in KEYS.items()]
            self._say(*(", ".join(keys[i : i + 4]) for i in range(0, len(keys), 4)))
        elif key in self._actions:
            # Some take as long as loading networks, which the picture must not wait for.
            self._workers.submit(self._actions[key]).add_done_callback(self._done)

    def _done(self, action: Future[None]) -> None:
        error = action.exception()
        if isinstance(error, AccelError):
            self._say(str(error))
        elif error is not None:
            self._say(f"unexpected {type(error).__name__}: {error}")

    def _say(self, *lines: str) -> None:
        self._note, self._note_until = lines, time.monotonic() + _NOTE_S

    @property
    def _settings(self) -> LiveSettings:
        return self._loop.settings

    def _change(self, name: str, value: object) -> None:
        self._loop.change(name, value)
        self._say(f"{name.replace('_', ' ')}: {value}")

    def _change_alpha(self, step: float) -> None:
        self._change("alpha", round(min(1.0, max(0.0, self._settings.alpha + step)), 2))

    def _toggle(self, name: str) -> None:
        self._change(name, not getattr(self._settings, name))

    def _next(self, name: str, choices: tuple[object, ...]) -> None:
        now = choices.index(getattr(self._settings, name))
        self._change(name, choices[(now + 1) % len(choices)])

    def _snapshot(self) -> None:
        data = self._loop.snapshot()
        path = free_path(self._folder / time.strftime("live-%Y%m%d-%H%M%S.png"))
        with output_errors(path), os.fdopen(create(path, 0o600), "wb") as file:
            file.write(data)
        self._say(f"wrote {path}")

    def _record(self) -> None:
        on = self._loop.stats().recording is None
        self._loop.record(on)
        self._say("recording" if on else "recording ended")
