"""What a text that names an input means: standard input, something on this machine, or a URL."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from accel_rt.errors import InputError, UsageError
from accel_rt.files import is_no_file
from accel_rt.redact import redact

STDIN = "-"

# What FFmpeg may open for a URL of each scheme: the protocol itself and those it is carried by.
# A web server may send on from http to https, not the other way.
_HTTPS = "https,tls,tcp,httpproxy"
_PROTOCOLS = {
    "http": f"http,{_HTTPS}",
    "https": _HTTPS,
    "rtsp": "rtp,tcp,udp",
    "rtsps": "rtp,srtp,tls,tcp,udp",
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tls,tcp",
    "rtp": "rtp,udp",
    "srtp": "srtp,rtp,udp",
    "udp": "udp",
    "tcp": "tcp",
    "tls": "tls,tcp",
    "srt": "srt",
    "ftp": "ftp,tcp",
    "mmsh": "mmsh,http,tcp",
    "mmst": "mmst,tcp",
}
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


def is_url(text: str | Path) -> bool:
    """Whether ``text`` names something elsewhere: ``SCHEME://``, other than ``file://``.

    A colon alone makes no URL: ``10:30.mp4`` and ``http:x.mp4`` are names of files.
    """
    scheme = _scheme(text)
    return scheme is not None and scheme != "file"


def local_path(text: str | Path) -> Path:
    """The path that ``text``, a path or a ``file://`` URL, names on this machine."""
    if _scheme(text) == "file":
        return Path(unquote(split_url(str(text)).path))
    return Path(text)


def split_url(url: str) -> SplitResult:
    """The parts of a URL; :class:`UsageError` for what is none."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise UsageError(f"'{redact(url)}' is not a URL: {error}") from error


def is_read_once(text: str | Path) -> bool:
    """Whether ``text`` is standard input, a pipe or a device: there is no way back in it."""
    if is_url(text):
        return False
    return str(text) == STDIN or is_no_file(local_path(text))


def not_there(text: str | Path) -> InputError:
    """Why nothing is found at ``text`` on this machine."""
    try:
        os.stat(local_path(text))
    except PermissionError:
        return InputError(may_not_be_read(text))
    except (OSError, ValueError):
        pass
    return InputError(f"there is no file or folder '{text}': check the path")


def may_not_be_read(text: str | Path) -> str:
    """The sentence for what the system keeps from us."""
    return f"'{text}' may not be read: check its permissions"


def source_name(text: str | Path) -> str:
    """What an input is called in messages: a path's or URL's last part, or its host."""
    if str(text) == STDIN:
        return "standard input"
    if not is_url(text):
        return local_path(text).name
    parts = split_url(str(text))
    return Path(unquote(parts.path)).name or parts.hostname or "stream"


def protocols_of(url: str) -> str:
    """The protocols that ``url`` needs, separated by commas.

    Raises :class:`UsageError` for a scheme that is none of them.
    """
    scheme = _scheme(url)
    if scheme not in _PROTOCOLS:
        raise UsageError(
            f"'{scheme}://' is no kind of URL that can be read: "
            f"give a file or one of {', '.join(_PROTOCOLS)}"
        )
    return _PROTOCOLS[scheme]


def _scheme(text: str | Path) -> str | None:
    match = _SCHEME.match(text) if isinstance(text, str) else None
    return match[1].lower() if match else None
