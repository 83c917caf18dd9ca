"""Middlebury's ``.flo`` files (also FlyingChairs' and Sintel's): dense optical flow.

A magic number, width and height as int32, then (u, v) float32 for each pixel, little-endian; a
pixel with a component beyond 1e9 is unknown (Baker et al., "A Database and Evaluation Methodology
for Optical Flow", 2011).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from accel_rt.errors import InputError

_MAGIC = b"PIEH"  # 202021.25 as float32
_HEADER = 12  # bytes
_UNKNOWN_ABOVE = 1e9


def read_flo(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Flow float32 ``[H, W, 2]`` (dx, dy) in pixels, and bool ``[H, W]`` where it is known.

    Unknown flow is zero. Raises :class:`~accel_rt.errors.InputError` if the file cannot be read
    or is no ``.flo`` file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the flow {path}: {error.strerror}") from error
    if len(data) < _HEADER or data[:4] != _MAGIC:
        raise InputError(f"{path} is not a .flo file: it does not start with PIEH")
    width, height = (int(side) for side in np.frombuffer(data, "<i4", 2, 4))
    expected = _HEADER + 8 * width * height
    if min(width, height) < 1 or len(data) != expected:
        raise InputError(
            f"{path} is damaged: flow of {width}x{height} takes {expected} bytes, and it has "
            f"{len(data)}"
        )
    flow = np.frombuffer(data, "<f4", -1, _HEADER).reshape(height, width, 2).astype(np.float32)
    known = np.all(np.abs(flow) <= _UNKNOWN_ABOVE, axis=-1)  # False for NaN, too
    flow[~known] = 0
    return flow, known
