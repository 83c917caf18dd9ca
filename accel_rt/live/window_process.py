"""A window in a process of its own, which has nothing but OpenCV in it.

PyAV's wheel and OpenCV's each bring a copy of the X11 libraries, and in one process they hang or
crash; besides, OpenCV's toolkit ends its process where the display cannot be used.

Run as a program, this file is that process: it reads pictures from stdin, shows them, and answers
each with the key that was pressed meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
from typing import BinaryIO

import numpy as np

NO_KEY, CLOSED = 255, -1

_HEADER = struct.Struct("<II")  # height and width; zeros only ask for keys
_ANSWER = struct.Struct("<h")
_START_TIMEOUT_S = 20.0


class WindowProcess:
    """A window that is open; a context manager that closes it.

    Raises :class:`OSError` with one sentence if no window can be opened.
    """

    def __init__(self, title: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - read once the process has ended
        self._process = subprocess.Popen(
            [sys.executable, __file__, title],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "QT_LOGGING_RULES": "*.warning=false"},
        )
        if self._answer(_START_TIMEOUT_S) == CLOSED:
            why = self._why()
            self.close()
            raise OSError(why)

    def show(self, image_bgr: np.ndarray | None = None) -> int:
        """Show a picture, uint8 ``[H, W, 3]``, or go on with the one there is.

        Returns the code of a key that was pressed, :data:`NO_KEY`, or :data:`CLOSED`.
        """
        height, width = (0, 0) if image_bgr is None else image_bgr.shape[:2]
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(_HEADER.pack(height, width))
            if image_bgr is not None:
                self._process.stdin.write(np.ascontiguousarray(image_bgr).data)
            self._process.stdin.flush()
        except OSError:
            return CLOSED
        return self._answer()

    def close(self) -> None:
        """Close the window; a second call does nothing."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> WindowProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, timeout_s: float | None = None) -> int:
        assert self._process.stdout is not None
        if (
            timeout_s is not None
            and not select.select([self._process.stdout], [], [], timeout_s)[0]
        ):
            return CLOSED
        data = self._process.stdout.read(_ANSWER.size)
        return CLOSED if len(data) < _ANSWER.size else _ANSWER.unpack(data)[0]

    def _why(self) -> str:
        self._errors.seek(0)
        if b"not implemented" in self._errors.read():
            return (
                "this OpenCV was built without windows (opencv-python-headless): install "
                "opencv-python instead, or use --serve for a page in the browser"
            )
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        if not display:
            return "there is no display to open a window on: use --serve for a page in the browser"
        return (
            f"no window can be opened on the display '{display}': check DISPLAY, or use --serve "
            f"for a page in the browser"
        )


def _read(stdin: BinaryIO) -> tuple[bool, np.ndarray | None]:
    """Whether there was a request, and its picture."""
    header = stdin.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return False, None
    height, width = _HEADER.unpack(header)
    if not height:
        return True, None
    data = stdin.read(height * width * 3)
    if len(data) < height * width * 3:
        return False, None
    return True, np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _main(title: str) -> None:
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    cv2.waitKey(1)
    key, size, more = NO_KEY, (0, 0), True
    while more:
        sys.stdout.buffer.write(_ANSWER.pack(key))
        sys.stdout.buffer.flush()
        more, image = _read(sys.stdin.buffer)
        if image is not None:
            if size != image.shape[1::-1]:
                size = image.shape[1], image.shape[0]
                cv2.resizeWindow(title, *size)
            cv2.imshow(title, image)
        key = cv2.waitKey(1) & 0xFF
        if image is not None and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1:
            key = CLOSED


if __name__ == "__main__":
    _main(sys.argv[1])
