"""The token of the live page: where it comes from, and how it is changed while the page is up."""

from __future__ import annotations

import _thread
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from accel_rt.errors import UsageError

TOKEN_VARIABLE = "ACCEL_RT_TOKEN"

_MAX_FILE_BYTES = 4096


@dataclass(frozen=True)
class PageToken:
    """A token; ``origin`` is the file or variable that holds it, None where only we know it."""

    text: str
    origin: str | None = None


def page_token(given: str | None, file: Path | None) -> PageToken:
    """The token on the command line, in ``file`` or in ``ACCEL_RT_TOKEN``, else a new one.

    Raises :class:`~accel_rt.errors.UsageError` where two are given, or a file holds none.
    """
    from accel_rt.live.web.address import new_token

    if given is not None and file is not None:
        raise UsageError("give --token or --token-file, not both")
    if file is not None:
        return PageToken(_read(file), f"'{file}'")
    if given is not None:
        return PageToken(given)
    if os.environ.get(TOKEN_VARIABLE):
        return PageToken(os.environ[TOKEN_VARIABLE], TOKEN_VARIABLE)
    return PageToken(new_token())


@contextmanager
def changing_on_signal(change: Callable[[], None]) -> Iterator[None]:
    """Call ``change`` in a thread whenever SIGUSR1 arrives, where the system has that signal."""
    if not hasattr(signal, "SIGUSR1"):
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        _thread.start_new_thread(change, ())

    previous = signal.signal(signal.SIGUSR1, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous)


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            token = opened.read(_MAX_FILE_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"the token file '{file}' cannot be read: {reason.lower()}") from error
    if not token or len(token.split()) > 1:
        raise UsageError(f"the token file '{file}' must hold a token and nothing else")
    return token
