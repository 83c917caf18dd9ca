"""Ctrl-C and SIGTERM as a request to finish properly."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\ninterrupted: finishing what was done (interrupt again to drop it)\n"


class _Stop(threading.Event):
    """An event that a signal handler may set.

    To notify those who wait takes the event's lock, which the very thread that was interrupted may
    hold, being about to wait: so another thread does it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wanted = False

    def is_set(self) -> bool:
        return self._wanted or super().is_set()

    def set_by_handler(self) -> None:
        self._wanted = True
        _thread.start_new_thread(self.set, ())


class Interruption:
    """Whether, and by which signal, the user asked to stop."""

    def __init__(self) -> None:
        self.event = _Stop()
        self.signal: int | None = None

    @property
    def exit_code(self) -> int:
        """What shells expect of a process that a signal ended: 130 for Ctrl-C."""
        return 128 + (self.signal or 0)


@contextmanager
def finishing_on_signals(interruption: Interruption, patient: bool = False) -> Iterator[None]:
    """Let the first signal only set ``interruption``; a second raises ``KeyboardInterrupt``.

    If ``patient``, later signals change nothing.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if interruption.event.is_set():
            if patient:
                return
            raise KeyboardInterrupt
        interruption.signal = number
        interruption.event.set_by_handler()
        os.write(2, _NOTICE)  # a handler may not use stderr's buffer: it may be in use already

    # Also where a shell has SIGINT ignored, as it does for background jobs of a script: whoever
    # sends it there by hand wants the job to finish.
    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
