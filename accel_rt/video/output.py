"""Output files: written under a temporary name, renamed when whole, errors in one sentence."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av

from accel_rt.errors import OutputError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_output_path(output: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Raise if ``output`` cannot be a new file: before any work is done.

    :class:`UsageError` if it is one of ``inputs`` or a folder, :class:`OutputError` if the
    folder it belongs in is missing or may not be written.
    """
    output = Path(output)
    for source in inputs:
        with suppress(OSError):  # neither a URL nor a glob is a file
            if output.exists() and output.samefile(source):
                raise UsageError(
                    f"the output '{output}' is the input itself: give another name with -o"
                )
    if output.is_dir():
        raise UsageError(f"the output '{output}' is a folder: give a file name")
    if not output.parent.is_dir():
        raise OutputError(
            f"the folder '{output.parent}' does not exist: create it or write somewhere else"
        )
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"the folder '{output.parent}' may not be written: "
            "change its permissions or write somewhere else"
        )


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn the system's and FFmpeg's errors while writing ``path`` into :class:`OutputError`."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise OutputError(why_unwritable(path, error)) from error


def why_unwritable(path: Path, error: OSError | av.FFmpegError) -> str:
    """One sentence for a failed write."""
    if error.errno in _FULL:
        return f"the disk is full, '{path}' could not be written: free space and run again"
    if error.errno == errno.EFBIG:
        return f"'{path}' grew beyond the largest file allowed there: write somewhere else"
    reason = (error.strerror or str(error)).lower()
    return f"cannot write '{path}': {reason}"


def part_path(path: Path) -> Path:
    """The temporary name that ``path`` is written under."""
    return path.with_name(path.name + ".part")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and rename it; :class:`OutputError` if that fails."""
    part = part_path(path)
    with output_errors(path):
        try:
            part.write_bytes(data)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


class PartText:
    """A text file ``NAME.part``, written piece by piece, that becomes ``NAME`` on :meth:`commit`.

    Raises :class:`OutputError` for whatever cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with output_errors(path):
            self._file = part_path(path).open("w", newline="", encoding="utf-8")

    @property
    def closed(self) -> bool:
        """Whether the file was committed or discarded."""
        return self._file.closed

    def write(self, text: str) -> None:
        """Add ``text``."""
        with output_errors(self.path):
            self._file.write(text)

    def commit(self) -> None:
        """Close the file and give it its name; remove it if its end cannot be written."""
        try:
            with output_errors(self.path):
                self._file.close()
                part_path(self.path).replace(self.path)
        except OutputError:
            self.discard()
            raise

    def discard(self) -> None:
        """Close the file and remove it; does nothing once it has its name."""
        with suppress(OSError):
            self._file.close()
        part_path(self.path).unlink(missing_ok=True)


class PartFile(io.FileIO):
    """A binary file ``NAME.part`` that becomes ``NAME`` on :meth:`commit`.

    It keeps ``reserve`` bytes of disk space beside it. When the disk fills up the reserve is given
    back, the write that failed is done again and ``full`` says so: the owner stops adding data
    and finishes the file in the space that was given back. Likewise ``full`` says so when the
    file could not grow by twice the reserve, as on file systems that hold 4 GB at most in a file.
    With ``in_place`` the file has its final name from the start, for formats that are whole at any
    moment.
    """

    def __init__(self, path: Path, reserve: int = 0, in_place: bool = False) -> None:
        self.path = path
        self.full: str | None = None
        self._written = path if in_place else part_path(path)
        self._reserve = path.with_name(path.name + ".reserve")
        self._reserved = 0
        self._allowed = 0  # size to which it may grow and still be finished
        super().__init__(str(self._written), "w+")
        try:
            self.reserve(reserve)
        except OSError:
            self.discard()
            raise

    def reserve(self, size: int) -> None:
        """Hold back ``size`` bytes (never fewer than before)."""
        if self.full or size <= self._reserved:
            return
        with self._reserve.open("ab") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.write(bytes(size - self._reserved))
        self._reserved = size

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while len(left):
            try:
                left = left[os.write(self.fileno(), left) :]
            except OSError as error:
                if error.errno not in _FULL or self.full:
                    raise
                self.full = "the disk is full"
                self._release()
        if not self.full and self._reserved:
            self._look_ahead()
        return len(data)

    def _look_ahead(self) -> None:
        """See to it that the end of the file will not exceed the largest size allowed."""
        size = os.fstat(self.fileno()).st_size
        if size < self._allowed:
            return
        try:
            os.ftruncate(self.fileno(), size + 2 * self._reserved)
            self._allowed = size + self._reserved
        except OSError as error:
            if error.errno == errno.EFBIG:
                self.full = "no larger file is allowed there"
        finally:
            os.ftruncate(self.fileno(), size)

    def commit(self) -> None:
        """Close the file and give it its name, replacing what was there."""
        self.close()
        self._release()
        os.replace(self._written, self.path)

    def discard(self, keep: bool = False) -> None:
        """Close the file and remove it, or leave it as it is with ``keep``."""
        self.close()
        self._release()
        if not keep:
            self._written.unlink(missing_ok=True)

    def _release(self) -> None:
        self._reserve.unlink(missing_ok=True)
