"""Files and pipes of this machine, opened here and handed to FFmpeg as open files.

FFmpeg takes names apart: to it ``10:30.mp4`` is the protocol ``10``, ``http:x.mp4`` a request and
``concat:a|b`` two files. It therefore gets what is open already, and a name only to look at.
"""

from __future__ import annotations

import io
import os
import select
import stat
import time
from pathlib import Path
from typing import Any

from accel_rt.video.location import STDIN, is_read_once, local_path


def open_local(location: str | Path, timeout_s: float | None = None) -> io.FileIO:
    """Open a file, a pipe, a device or ``-``, standard input, for reading.

    Pipes raise :class:`TimeoutError` where they send nothing for ``timeout_s`` seconds (None
    waits for ever). Raises :class:`OSError` for what cannot be opened.
    """
    if is_read_once(location):
        return _Pipe(location, timeout_s)
    return _File(location)


class _File(io.FileIO):
    """A regular file."""

    def __init__(self, location: str | Path) -> None:
        path = local_path(location)
        super().__init__(path, "rb")
        self.name = f"file:{path}"


class _Pipe(io.FileIO):
    """What can be read once; standard input may be a file all the same."""

    def __init__(self, location: str | Path, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        if str(location) == STDIN:
            super().__init__(os.dup(0), "rb")
        else:  # not waiting for somebody who writes: read() does, and only so long
            super().__init__(os.open(local_path(location), os.O_RDONLY | os.O_NONBLOCK), "rb")
        self.name = f"file:{location}"
        self._poll = select.poll()
        self._poll.register(self, select.POLLIN)

    def seekable(self) -> bool:
        return stat.S_ISREG(os.fstat(self.fileno()).st_mode)

    def read(self, size: int | None = -1) -> Any:
        """Up to ``size`` bytes as soon as there are some, none at the end."""
        until = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        while True:
            left_s = None if until is None else until - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise TimeoutError
            if not self._poll.poll(None if left_s is None else left_s * 1e3):
                continue
            data = super().read(size)
            if data is not None:
                return data
