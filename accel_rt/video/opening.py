"""Opening videos: who may be asked for what, how long to wait, and how large a picture may be.

What is on this machine is handed over as an open file, and no name is left for FFmpeg to take
apart. A URL may be fetched by the protocols it names. Whatever a playlist names goes through
:class:`~accel_rt.video.allowed.AllowedOpener`.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import av

from accel_rt.errors import InputError, UsageError
from accel_rt.redact import redact
from accel_rt.video.allowed import CUTS_START, AllowedOpener, allowed_cuts, origin
from accel_rt.video.limits import DEFAULT_LIMITS, Limits
from accel_rt.video.local_file import open_local
from accel_rt.video.location import (
    is_read_once,
    is_url,
    local_path,
    may_not_be_read,
    protocols_of,
)

PIPE_HINT = "if its index is at the end, as an MP4's may be, give the file itself"

_BUFFER_BYTES = 1 << 17
# No protocol is open to what a playlist names. FFmpeg must not go on with a connection, either: it
# knows none where files are opened for it, and aborts the process.
_NOTHING_ELSE = {"protocol_whitelist": "", "http_persistent": "0", "http_multiple": "0"}
_FORMATS = av.formats_available - {"hls", "dash", "concat"}

T = TypeVar("T")


def open_container(
    location: str | Path, limits: Limits = DEFAULT_LIMITS, options: dict[str, str] | None = None
) -> av.container.InputContainer:
    """Open a file, a pipe, ``-`` or a URL with PyAV and FFmpeg's ``options`` for reading it.

    Raises :class:`InputError` in one sentence if that fails, :class:`UsageError` for a kind of URL
    that is not read.
    """
    options = {**limits.of_decoder, **(options or {})}
    try:
        if is_url(location):
            return _open_url(str(location), limits, options)
        return _open_local(location, limits, options)
    except UsageError:  # which is a ValueError
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(_why_unreadable(location, error, limits)) from error


def interruptible(call: Callable[[], T]) -> T:
    """The result of ``call``, which runs in another thread: Ctrl-C does not wait for it to end."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="open", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def reason(error: Exception) -> str:
    """What the system or FFmpeg says of an error, in lower case."""
    if isinstance(error, (av.error.ExitError, TimeoutError)):
        return "nothing came in time"
    return (getattr(error, "strerror", None) or str(error)).lower()


def _open_local(
    location: str | Path, limits: Limits, options: dict[str, str]
) -> av.container.InputContainer:
    opener = AllowedOpener(str(location), limits.allow, limits.timeout_s)
    file = open_local(location, limits.timeout_s)
    try:
        if not is_read_once(location) and file.read(len(CUTS_START)) == CUTS_START:
            return _open_cuts(local_path(location), opener, options)
        if file.seekable():
            file.seek(0)
        container = av.open(
            file,
            "r",
            options={**options, **_NOTHING_ELSE},
            metadata_errors="replace",
            timeout=limits.timeout_s if limits.allow else None,
            buffer_size=_BUFFER_BYTES,
            io_open=opener,
        )
        opener.opened()
        return container
    except BaseException:
        file.close()
        raise


def _open_cuts(
    path: Path, opener: AllowedOpener, options: dict[str, str]
) -> av.container.InputContainer:
    options = {**options, "safe": "0", "protocol_whitelist": "file"}
    options["format_whitelist"] = ",".join(sorted({*_FORMATS, "concat"}))
    script = io.BytesIO(allowed_cuts(path, opener))
    return av.open(script, "r", format="concat", options=options, metadata_errors="replace")


def _open_url(url: str, limits: Limits, options: dict[str, str]) -> av.container.InputContainer:
    scheme, rest = url.split("://", 1)
    options = {**options, "protocol_whitelist": protocols_of(url)}
    url = f"{scheme.lower()}://{rest}"
    if url.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    formats = {"format_whitelist": ",".join(sorted(_FORMATS))}
    try:
        return av.open(
            url,
            options={**options, **formats},
            timeout=limits.timeout_s,
            metadata_errors="replace",
        )
    except (av.error.InvalidDataError, av.error.ArgumentError):  # a playlist, it may be
        if not url.startswith("http"):
            raise
    opener = AllowedOpener(redact(url), (*limits.allow, url, origin(url)), limits.timeout_s)
    options = {**options, **_NOTHING_ELSE}
    container = av.open(
        url,
        "r",
        options=options,
        timeout=limits.timeout_s,
        io_open=opener,
        metadata_errors="replace",
    )
    opener.opened()
    return container


def _why_unreadable(location: str | Path, error: Exception, limits: Limits) -> str:
    late = isinstance(error, (av.error.ExitError, TimeoutError))
    if is_url(location):
        url = redact(str(location))
        if late:
            return f"'{url}' did not answer within {limits.timeout_s:g} s"
        return f"cannot open '{url}': {reason(error)}"
    if late:
        return f"'{location}' sent nothing for {limits.timeout_s:g} s"
    if isinstance(error, PermissionError):
        return may_not_be_read(location)
    why = f"'{location}' is not a video or image that can be read ({reason(error)})"
    if is_read_once(location):
        return f"{why}: {PIPE_HINT}"
    path = local_path(location)
    if not path.is_file():
        return why
    if os.path.getsize(path) == 0:
        return f"'{location}' is empty"
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp":
        return f"{why}: it begins like an MP4; if its index (moov) is missing, export it again"
    return why
