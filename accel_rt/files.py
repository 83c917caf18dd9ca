"""Files that are there whole or not at all: unfinished names, replacing, and claims.

What is being written has a random name beside its final one, ``NAME.TOKEN.part``. It is created
anew and no symbolic link is followed, so that no file that is there already is ever touched; when
it is complete it replaces ``NAME`` in one step.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from accel_rt.errors import OutputError

try:
    import fcntl
except ImportError:  # not on Windows: claims are not checked there
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".part"
MAX_NAME_BYTES = 255
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOKEN_BYTES = 4
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


def cache_folder() -> Path:
    """Where files made of weights are kept: ``accel-rt`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "accel-rt"


def contents_digest(paths: Iterable[Path]) -> str:
    """SHA-256 of what is in ``paths``; what is not there counts as empty."""
    digest = hashlib.sha256()
    for path in paths:
        own = hashlib.sha256()
        with suppress(OSError), path.open("rb") as file:
            while block := file.read(1 << 20):
                own.update(block)
        digest.update(own.digest())
    return digest.hexdigest()


def new_token() -> str:
    """Eight random hexadecimal digits: what tells a run's unfinished files from all others."""
    return secrets.token_hex(_TOKEN_BYTES)


def beside(path: Path, ending: str) -> Path:
    """``path`` with ``ending`` added to its name, which is shortened where it would be too long."""
    room = MAX_NAME_BYTES - len(os.fsencode(ending))
    return path.with_name(os.fsencode(path.name)[:room].decode("utf-8", "ignore") + ending)


def unfinished_path(path: Path, token: str) -> Path:
    """The name that ``path`` has while it is being written."""
    return beside(path, f".{token}{UNFINISHED}")


def remove_unfinished(path: Path, token: str) -> None:
    """Remove what a run left of ``path`` under its token, as far as it can be removed."""
    start = beside(path, f".{token}.").name
    with suppress(OSError):
        for name in os.listdir(path.parent):
            if name.startswith(start) and name.endswith(UNFINISHED):
                with suppress(OSError):
                    path.with_name(name).unlink()


def create(path: Path, mode: int = 0o666) -> int:
    """A descriptor of the new file ``path`` for reading and writing, its rights ``mode``.

    Raises :class:`FileExistsError` if anything has that name, be it a symbolic link.
    """
    return os.open(path, _CREATE, mode)


def is_no_file(path: Path) -> bool:
    """Whether a pipe, a device or the like has that name, which nothing may replace."""
    # Not by Path's methods, which raise where a folder may not be looked into.
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file that replaces ``path`` when the block ends, and is gone if the block fails.

    A pipe or a device is written to instead; a symbolic link to a file is replaced itself. Raises
    :class:`~accel_rt.errors.OutputError` where the system refuses; other errors of the block pass
    through.
    """
    if is_no_file(path):
        try:
            with path.open("wb") as file:
                yield file
        except OSError as error:
            raise OutputError(why_unwritable(path, error)) from error
        return
    unfinished = unfinished_path(path, new_token())
    try:
        with unfinished.open("x+b") as file:
            yield file
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(why_unwritable(path, error)) from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def make_parent(path: Path) -> None:
    """Make the folder that ``path`` is in.

    Raises :class:`~accel_rt.errors.OutputError` if that cannot be done.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(why_unwritable(path, error)) from error


def write_whole(path: Path, data: bytes | str) -> None:
    """Write ``path`` (text as UTF-8), replacing what was there only when complete.

    Raises :class:`~accel_rt.errors.OutputError` if that cannot be done.
    """
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def keep(path: Path, data: bytes) -> None:
    """Write ``path`` for the next run, if that can be done."""
    with suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


def link_or_copy(path: Path, target: Path) -> None:
    """Give a finished file a second name, or copy it where that cannot be."""
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(path, target)


def why_unwritable(path: Path, error: Exception) -> str:
    """One sentence for a write of ``path`` that failed; ``error`` has an ``errno``."""
    number = getattr(error, "errno", None)
    if number in DISK_FULL:
        return f"the disk is full, '{path}' could not be written: free space and run again"
    if number == errno.EFBIG:
        return f"'{path}' grew beyond the largest file allowed there: write somewhere else"
    return f"cannot write '{path}': {(getattr(error, 'strerror', None) or str(error)).lower()}"


class Claim:
    """The right to write ``path``, held against every other process until :meth:`release`.

    It is a lock on ``.NAME.lock`` beside it, which the system lifts when the process ends, however
    that happens. Where the file system knows no locks, nobody is kept out.

    Raises :class:`~accel_rt.errors.OutputError` if another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = beside(path.with_name(f".{path.name}"), ".lock")
        self._descriptor: int | None = None
        while fcntl is not None and self._descriptor is None:
            try:
                self._descriptor = self._locked()
            except BlockingIOError as error:
                raise OutputError(
                    f"'{path}' is being written by another run: "
                    "wait until that is done or give another name"
                ) from error
            except OSError:
                return

    def _locked(self) -> int | None:
        """The locked descriptor; None if its file was removed meanwhile by the claim before."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(self._lock, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.lstat(self._lock)):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def release(self) -> None:
        """Give the right up; a second call does nothing."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._lock.unlink()
            os.close(self._descriptor)
            self._descriptor = None
