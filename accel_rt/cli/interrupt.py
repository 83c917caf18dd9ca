"""Ctrl-C, SIGTERM and SIGHUP as a request to finish properly."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
"""Exit code of a run that a signal ended, whichever it was: all of them end like Ctrl-C."""

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
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


@contextmanager
def finishing_on_signals(interruption: Interruption, patient: bool = False) -> Iterator[None]:
    """Let the first signal only set ``interruption``; a second raises ``KeyboardInterrupt``.

    If ``patient``, later signals change nothing.
    """

    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a fork of this one that has no handlers of its own yet
            return
        if interruption.event.is_set():
            if patient:
                return
            raise KeyboardInterrupt
        interruption.signal = number
        interruption.event.set_by_handler()
        os.write(2, _NOTICE)  # a handler may not use stderr's buffer: it may be in use already

    # Also where a shell has SIGINT ignored, as it does for background jobs of a script: whoever
    # sends it there by hand wants the job to finish.
    with _handling(handle, _SIGNALS):
        yield


@contextmanager
def interrupting_on_signals() -> Iterator[None]:
    """Let every signal raise ``KeyboardInterrupt`` as Ctrl-C does, in the main thread.

    SIGINT, too: by itself it does nothing in the background jobs of a script.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    with _handling(handle, _SIGNALS if main else ()):
        yield


@contextmanager
def _handling(
    handle: Callable[[int, FrameType | None], None], numbers: Sequence[int]
) -> Iterator[None]:
    """Handle signals; SIGHUP only where nobody, such as ``nohup``, has it ignored."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) == signal.SIG_IGN:
        numbers = [number for number in numbers if number != hangup]
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
