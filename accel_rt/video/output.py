"""Output files while they are written: where they may be, streams, lines, errors in a sentence."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import av

from accel_rt.errors import OutputError, UsageError
from accel_rt.files import MAX_NAME_BYTES, create, is_no_file, why_unwritable


def check_output_path(output: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Raise if ``output`` cannot be a new file: before any work is done.

    :class:`UsageError` if it is one of ``inputs`` or no file, :class:`OutputError` if the
    folder it belongs in is missing or may not be written.
    """
    output = Path(output)
    if len(os.fsencode(output.name)) > MAX_NAME_BYTES:
        raise UsageError(
            f"the output's name '{output.name[:20]}...' is longer than {MAX_NAME_BYTES} bytes: "
            "give a shorter one"
        )
    for source in inputs:
        with suppress(OSError):  # neither a URL nor a glob is a file
            if os.path.exists(output) and output.samefile(source):
                raise UsageError(
                    f"the output '{output}' is the input itself: give another name with -o"
                )
    if os.path.isdir(output):
        raise UsageError(f"the output '{output}' is a folder: give a file name")
    if is_no_file(output):
        raise UsageError(f"the output '{output}' is a pipe or a device: give the name of a file")
    if not os.path.isdir(output.parent):
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


class LineFile:
    """A text file of lines, each of them on disk once it is written.

    ``keep`` takes up the file that is there after that many lines; None makes a new one.
    Raises :class:`OutputError` for what cannot be written.
    """

    def __init__(self, path: Path, keep: int | None = None) -> None:
        self.path = path
        with output_errors(path):
            self._file = path.open("xb" if keep is None else "r+b", buffering=0)
            if keep is not None:
                self._file.truncate(_end_of_lines(path, keep))
                self._file.seek(0, os.SEEK_END)

    def write(self, line: str) -> None:
        """Add ``line``, without its end."""
        left = memoryview(f"{line}\n".encode())
        end = self._file.tell()
        with output_errors(self.path):
            try:
                while len(left):
                    left = left[self._file.write(left) :]
            except OSError:
                self._file.truncate(end)  # whole lines only
                raise

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        with output_errors(self.path):
            self._file.close()


def _end_of_lines(path: Path, count: int) -> int:
    """The length in bytes of the first ``count`` lines of a file."""
    with path.open("rb") as file:
        return sum(len(line) for line in islice(file, count))


class StreamFile(io.FileIO):
    """A new binary file at ``path`` for a muxer to write to.

    Its rights are ``mode``. ``failure`` is the first error of a write: what came before it is in
    the file.
    """

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        super().__init__(str(path), "x+", opener=lambda name, _: create(Path(name), mode))
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        try:
            while len(left):
                left = left[os.write(self.fileno(), left) :]
        except OSError as error:
            self.failure = self.failure or error
            raise
        return len(data)


def cut_to_fragments(path: Path) -> None:
    """Cut a fragmented MP4 off after its last complete fragment."""
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        at = end = 0
        while at + 8 <= size:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length == 1:
                (length,) = struct.unpack(">Q", file.read(8))
            if length < 8 or at + length > size:
                break
            at += length
            if kind != b"moof":  # which is of use with its data only
                end = at
        file.truncate(end)
