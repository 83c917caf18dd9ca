"""MXNet's ``.params`` files: named arrays, in every layout since its first release.

    uint64 0x112, uint64 0, uint64 N, N arrays, uint64 N (or 0), N names

An array is its shape, its device (which means nothing here), its type and its data, all little
endian. The shape begins with a mark that tells the layout; the oldest has none. A file is not
trusted: every size is held against what is left of it before anything is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from accel_rt.errors import WeightsError

_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DTYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")
_MAX_DIMENSIONS = 32
_MAX_SIDE = 2**31 - 1


def read_params(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.params`` file by their names, such as ``arg:conv1_weight``.

    Raises :class:`~accel_rt.errors.WeightsError` for a file that is missing, damaged, or something
    else.
    """
    if not path.is_file():
        raise WeightsError(f"no file {path}: name a checkpoint of MXNet ('.params')")
    try:
        with path.open("rb") as file, _one_sentence(path):
            return _named_arrays(_Cursor(file, path.stat().st_size))
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise WeightsError(
            f"{path} is not a readable MXNet parameter file ({error}): get it anew"
        ) from error


class _Cursor:
    """Reads a file of ``size`` bytes from its front; ``ValueError`` where it ends too soon."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.left = file, size

    def bytes(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise ValueError(f"it ends within {what}")
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError(f"it ends within {what}")
        self.left -= count
        return data

    def numbers(self, kinds: str, what: str) -> tuple[int, ...]:
        """As ``struct`` names their ``kinds``."""
        return struct.unpack("<" + kinds, self.bytes(struct.calcsize("<" + kinds), what))

    def count(self, least_bytes: int, what: str) -> int:
        """How many things of at least so many bytes each follow."""
        (count,) = self.numbers("Q", f"the number of {what}")
        if count * least_bytes > self.left:
            raise ValueError(f"it says that {count} {what} follow, more than it has room for")
        return count


def _named_arrays(cursor: _Cursor) -> dict[str, np.ndarray]:
    magic, _ = cursor.numbers("QQ", "its header")
    if magic != _MAGIC:
        raise ValueError("it does not begin as one")
    arrays = [_array(cursor, index) for index in range(cursor.count(4, "arrays"))]
    names = [_name(cursor) for _ in range(cursor.count(8, "names"))]
    if cursor.left:
        raise ValueError(f"{cursor.left} bytes follow its end")
    if len(names) != len(arrays):
        raise ValueError(f"it has {len(arrays)} arrays and {len(names)} names")
    if len(set(names)) != len(names):
        raise ValueError("two of its arrays have one name")
    return {name: a for name, a in zip(names, arrays, strict=True) if a is not None}


def _name(cursor: _Cursor) -> str:
    letters = cursor.bytes(cursor.count(1, "letters of a name"), "a name")
    name = letters.decode("utf-8", "replace")
    if not name.isprintable() or "\ufffd" in name:
        raise ValueError("a name has letters that cannot be printed")
    return name


def _array(cursor: _Cursor, index: int) -> np.ndarray | None:
    """The next array; None for one that was never filled."""
    what = f"array {index}"
    shape = _shape(cursor, what)
    if shape is None:
        return None
    _device, _number, code = cursor.numbers("iii", what)
    if not 0 <= code < len(_DTYPES):
        raise ValueError(f"{what} is of a type {code} that is not known")
    dtype, count = np.dtype(_DTYPES[code]), 1
    for side in shape:
        count *= side
    data = cursor.bytes(count * dtype.itemsize, what)
    return np.frombuffer(data, dtype).reshape(shape)


def _shape(cursor: _Cursor, what: str) -> tuple[int, ...] | None:
    (mark,) = cursor.numbers("I", what)
    side = "q"
    if mark in (_V2, _V3):
        storage, dimensions = cursor.numbers("ii", what)
        if storage != 0:
            raise ValueError(f"{what} is stored sparse, which no network's parameter is")
    elif mark == _V1:
        (dimensions,) = cursor.numbers("I", what)
    else:
        dimensions, side = mark, "I"
    if dimensions == 0 or (mark == _V3 and dimensions == -1):
        return None
    if not 0 < dimensions <= _MAX_DIMENSIONS:
        raise ValueError(f"{what} has {dimensions} dimensions")
    shape = cursor.numbers(f"{dimensions}{side}", what)
    if not all(0 <= length <= _MAX_SIDE for length in shape):
        raise ValueError(f"{what} has the shape {shape}")
    return shape
