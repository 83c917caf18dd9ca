"""Which kind of live source a name stands for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from accel_rt.errors import UsageError
from accel_rt.live.camera import CameraSource
from accel_rt.live.file import FileSource
from accel_rt.live.source import OpenSource
from accel_rt.live.stream import StreamSource
from accel_rt.video.location import is_read_once, source_name

_CAMERA = re.compile(r"(?:/dev/video)?(\d{1,4})")
_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")


def source_opener(source: str | int | Path, repeat: bool = False, **limits: Any) -> OpenSource:
    """What opens ``source``: a camera (``0``, ``/dev/video0``), a URL, or a file at its own pace.

    A file, folder or glob of images, and a recording behind a URL, starts again at its end with
    ``repeat``. ``limits`` are those of :class:`~accel_rt.video.limits.Limits`, as far as they are
    not to be the source's own.

    Raises :class:`~accel_rt.errors.UsageError` where what can be read once shall ``repeat``.
    """
    text = str(source)
    camera = _CAMERA.fullmatch(text)
    if camera:
        return lambda: CameraSource(int(camera[1]))
    if _URL.match(text) and not text.startswith("file://"):
        return lambda: StreamSource(text, repeat, **limits)
    if repeat and is_read_once(source if isinstance(source, Path) else text):
        raise UsageError(
            f"{source_name(text)} can be read once: leave out --repeat, or give the file itself"
        )
    return lambda: FileSource(source if isinstance(source, Path) else text, repeat, **limits)
