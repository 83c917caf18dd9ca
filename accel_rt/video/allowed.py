"""What playlists and scripts of cuts may open: they name files and addresses of their own."""

from __future__ import annotations

import io
import shlex
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Sequence
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from accel_rt.errors import InputError
from accel_rt.redact import redact
from accel_rt.video.local_file import open_local
from accel_rt.video.location import is_url, local_path

CUTS_START = b"ffconcat "
_DIRECTIVES = ("file", "duration", "inpoint", "outpoint")
_AGENT = "Mozilla/5.0 (compatible; accel-rt)"  # some servers answer no unknown program


class AllowedOpener:
    """Opens what a playlist names where ``allow`` says so; PyAV's ``io_open``.

    ``allow`` holds files, folders and beginnings of URLs. Raises :class:`InputError` for anything
    else, and where an allowed one cannot be opened. Until :meth:`opened` is called, all answers
    of servers together may take ``timeout_s`` seconds.
    """

    def __init__(self, playlist: str, allow: Sequence[str | Path], timeout_s: float | None) -> None:
        self._playlist = playlist
        self._failed = False
        self._allow = tuple(allow)
        self._timeout_s = timeout_s
        self._until = None if timeout_s is None else time.monotonic() + timeout_s

    def opened(self) -> None:
        """Say that the playlist is open: from now on it is read as slowly as it is used."""
        self._until = None

    def check_time(self) -> None:
        """Raise :class:`TimeoutError` if opening takes too long, though bytes keep coming."""
        if self._until is not None and time.monotonic() > self._until:
            raise TimeoutError

    def __call__(self, name: str, flags: int, options: dict[str, str]) -> io.IOBase:
        """Open ``name``, ``file:PATH``, a path or a URL, with FFmpeg's ``options`` for it.

        After a failure everything else is empty: PyAV has room for one error.
        """
        if self._failed:
            return io.BytesIO()
        try:
            name = name if name.startswith("file://") else name.removeprefix("file:")
            self.check(name)
            return self._open(name, options)
        except InputError:
            self._failed = True
            raise

    def check(self, name: str) -> None:
        """Raise unless ``name``, a path or a URL, may be opened."""
        if self._allows(name):
            return
        where = origin(name) if is_url(name) else str(local_path(name).parent)
        raise InputError(
            f"'{self._playlist}' is a playlist that names '{redact(name)}', which it may not open: "
            f"if it should, give --allow '{redact(where)}'"
        )

    def _open(self, name: str, options: dict[str, str]) -> io.RawIOBase:
        try:
            if is_url(name):
                return self._request(name, options)
            return open_local(name, self._timeout_s)
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise InputError(
                f"'{self._playlist}' names '{redact(name)}', which cannot be opened: "
                f"{str(why).lower()}"
            ) from error

    def _allows(self, name: str) -> bool:
        if is_url(name):
            return any(_begins(name, str(a)) for a in self._allow if is_url(a))
        path = local_path(name).resolve()
        local = (local_path(allowed).resolve() for allowed in self._allow if not is_url(allowed))
        return any(path.is_relative_to(allowed) for allowed in local)

    def _request(self, url: str, options: dict[str, str]) -> _Answer:
        parts = urlsplit(url)
        user, _, host = parts.netloc.rpartition("@")
        plain = parts._replace(netloc=host).geturl()
        request = urllib.request.Request(plain, headers={"User-Agent": _AGENT})
        if user:
            secret = b64encode(unquote(user).encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {secret}")
        begin, end = options.get("offset"), options.get("end_offset")
        if begin is not None:
            request.add_header("Range", f"bytes={begin}-{int(end) - 1 if end else ''}")
        answer = _opener(self._allows).open(request, timeout=self._timeout_s)
        return _Answer(answer, self.check_time)


def allowed_cuts(path: Path, opener: AllowedOpener) -> bytes:
    """An ``ffconcat`` script written anew, of files that ``opener`` allows alone.

    Kept are the directives that say what is shown: ``file``, ``duration``, ``inpoint`` and
    ``outpoint``. A script that names a script raises :class:`InputError`, as does anything that
    is not allowed.
    """
    lines = ["ffconcat version 1.0"]
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        words = shlex.split(line, comments=True)
        if len(words) != 2 or words[0] not in _DIRECTIVES:
            continue
        directive, value = words
        if directive == "file":
            cut = (path.parent / local_path(value)).resolve()
            if is_url(value):
                raise InputError(f"'{path}' names a URL, '{redact(value)}': it may name files only")
            opener.check(str(cut))
            if cut.is_file() and cut.open("rb").read(len(CUTS_START)) == CUTS_START:
                raise InputError(f"'{path}' names another script of cuts, '{cut}': name videos")
            value = "'file:" + str(cut).replace("'", r"'\''") + "'"
        lines.append(f"{directive} {value}")
    return "\n".join(lines).encode("utf-8", "surrogateescape")


class _Answer(io.RawIOBase):
    """A web server's answer as a file that cannot seek."""

    def __init__(self, response: Any, check_time: Callable[[], None]) -> None:
        self._response = response
        self._check_time = check_time

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self._check_time()
        data: bytes = self._response.read1(size)
        return data

    def close(self) -> None:
        self._response.close()
        super().close()


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, allows: Any) -> None:
        self._allows = allows

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not self._allows(newurl):
            raise urllib.error.URLError(f"it sends on to '{redact(newurl)}', which is not allowed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(allows: Any) -> urllib.request.OpenerDirector:
    """An opener of http and https alone."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _CheckedRedirects(allows),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def origin(url: str) -> str:
    """The beginning that all URLs of the same server have."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/"


def _begins(url: str, prefix: str) -> bool:
    """Whether ``url`` is of the same server as ``prefix`` and lies under its path."""
    a, b = urlsplit(url), urlsplit(prefix)
    same = (a.scheme.lower(), a.netloc.lower()) == (b.scheme.lower(), b.netloc.lower())
    folder = b.path if b.path.endswith("/") else b.path + "/"
    inside = not b.path.strip("/") or a.path == b.path or a.path.startswith(folder)
    return same and inside and ".." not in a.path.split("/")
