"""Counts of a model's predictions, frame by frame, and the scores that follow from them."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accel_rt.evaluate.boundary import mean_boundary_f
from accel_rt.evaluate.metrics import (
    class_counts,
    mean_accuracy,
    miou,
    pixel_accuracy,
    ratio,
)
from accel_rt.evaluate.schedule import KeyframeSchedule
from accel_rt.jsonfile import member

_PER_FRAME = ("pixels", "boundary", "consistency", "flicker")
_ARRAYS = ("ranks", *_PER_FRAME, "confusion")
_STORED_AS = {"pixels": "counts"}  # in JSON, where names have to stay


@dataclass(frozen=True)
class ScoreCounts:
    """Counts of each labelled frame ``[F, ...]`` at one interval or distance, ready to add.

    ``pixels`` and ``consistency`` ``[F, 3, C]``, ``boundary`` ``[F, 4, C]``, ``flicker``
    ``[F, 2]``; see :mod:`.metrics`, :mod:`.boundary` and :mod:`.temporal`.
    """

    pixels: np.ndarray
    boundary: np.ndarray
    consistency: np.ndarray
    flicker: np.ndarray

    def scores(self, weights: np.ndarray, rate: float) -> dict[str, np.ndarray]:
        """Every score for frames that count ``weights`` ``[B, F]`` times, each ``[B]``.

        In percent, except ``flicker``: label changes per still pixel per second at ``rate`` Hz.
        """

        def total(values: np.ndarray) -> np.ndarray:
            flat = values.reshape(len(values), -1).astype(np.float64)
            return (weights @ flat).reshape(len(weights), *values.shape[1:])

        pixels, flicker = total(self.pixels), total(self.flicker)
        return {
            "miou": miou(pixels),
            "pixel_accuracy": pixel_accuracy(pixels),
            "mean_accuracy": mean_accuracy(pixels),
            "boundary_f": mean_boundary_f(total(self.boundary)),
            "consistency": miou(total(self.consistency)),
            "flicker": rate * ratio(flicker[:, 0], flicker[:, 1]),
        }

    def summary(self, rate: float) -> dict[str, float]:
        """:meth:`scores` with every frame once."""
        every = np.ones((1, len(self.pixels)))
        return {name: float(value[0]) for name, value in self.scores(every, rate).items()}


SCORES = ("miou", "pixel_accuracy", "mean_accuracy", "boundary_f", "consistency", "flicker")
"""What :meth:`ScoreCounts.scores` gives."""


class Counts:
    """Counts of one model over ``F`` labelled frames (``ranks``: their numbers in the data set).

    int64 arrays: ``pixels`` ``[F, longest, 3, C]`` and ``boundary`` ``[F, longest, 4, C]`` by
    distance; ``consistency`` ``[F, 2, longest, 3, C]`` and ``flicker`` ``[F, 2, longest, 2]`` by
    the slot of the pair; ``confusion`` ``[longest, C, C]`` by interval, over all frames.
    """

    def __init__(self, schedule: KeyframeSchedule, ranks: Sequence[int], classes: int) -> None:
        self.schedule = schedule
        self.ranks = np.array(ranks, np.int64)
        frames, longest = len(ranks), schedule.longest
        self.pixels = np.zeros((frames, longest, 3, classes), np.int64)
        self.boundary = np.zeros((frames, longest, 4, classes), np.int64)
        self.consistency = np.zeros((frames, 2, longest, 3, classes), np.int64)
        self.flicker = np.zeros((frames, 2, longest, 2), np.int64)
        self.confusion = np.zeros((longest, classes, classes), np.int64)

    def add(self, frame: int, offset: int, matrix: np.ndarray, boundary: np.ndarray) -> None:
        """Add the prediction of a frame at a distance: confusion and boundary counts."""
        self.pixels[frame, offset] = class_counts(matrix)
        self.boundary[frame, offset] = boundary
        ranks = self.ranks[frame : frame + 1]
        for interval in self.schedule.intervals:
            if self.schedule.selected(interval, ranks)[0, offset]:
                self.confusion[interval - 1] += matrix

    def at_interval(self, interval: int) -> ScoreCounts:
        """The stream with a keyframe every ``interval`` frames."""
        schedule = self.schedule
        return self._sums(
            schedule.selected(interval, self.ranks), schedule.selected_pairs(interval, self.ranks)
        )

    def at_offset(self, offset: int) -> ScoreCounts:
        """Frames at one distance from the keyframe, in the stream of the longest interval."""
        schedule = self.schedule
        selected = schedule.selected(schedule.longest, self.ranks).copy()
        pairs = schedule.selected_pairs(schedule.longest, self.ranks)
        selected[:, np.arange(schedule.longest) != offset] = False
        pairs[:, 0, np.arange(schedule.longest) != offset] = False
        if offset:
            pairs[:, 1] = False
        return self._sums(selected, pairs)

    def _sums(self, selected: np.ndarray, pairs: np.ndarray) -> ScoreCounts:
        return ScoreCounts(
            np.einsum("fo,fo...->f...", selected, self.pixels),
            np.einsum("fo,fo...->f...", selected, self.boundary),
            np.einsum("fso,fso...->f...", pairs, self.consistency),
            np.einsum("fso,fso...->f...", pairs, self.flicker),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that was counted, by name."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def join(cls, schedule: KeyframeSchedule, parts: Sequence[dict[str, np.ndarray]]) -> Counts:
        """The counts of all frames from the :meth:`arrays` of their parts, in order."""
        joined = cls(schedule, [], parts[0]["pixels"].shape[-1])
        for name in ("ranks", *_PER_FRAME):
            setattr(joined, name, np.concatenate([part[name] for part in parts]))
        joined.confusion = np.sum([part["confusion"] for part in parts], axis=0)
        return joined

    def to_json(self) -> dict[str, Any]:
        """Plain types; per-frame arrays packed (:func:`pack`)."""
        packed = {_STORED_AS.get(n, n): pack(array) for n, array in self.arrays().items()}
        return {"density": self.schedule.density, "longest": self.schedule.longest, **packed}

    @classmethod
    def from_json(cls, stored: Any, frames: int, classes: int) -> Counts:
        """The counts that :meth:`to_json` wrote of ``frames`` labelled frames.

        Raises ``ValueError`` naming what is missing or wrong.
        """
        schedule = KeyframeSchedule(member(stored, "density", str), member(stored, "longest", int))
        if not 1 <= schedule.longest <= LONGEST:
            raise ValueError(f"'longest' must be 1 to {LONGEST}, got {schedule.longest}")
        counts = cls(schedule, range(frames), classes)
        for name, empty in counts.arrays().items():
            packed = member(stored, _STORED_AS.get(name, name), dict)
            setattr(counts, name, unpack(packed, empty.shape))
        return counts


LONGEST = 1000
"""Of the intervals that a file may have been evaluated up to."""


def pack(array: np.ndarray) -> dict[str, Any]:
    """Integers as text: base64 of zlib of little-endian int32, or int64 if need be, in C order."""
    bits = 64 if array.size and array.max() > np.iinfo(np.int32).max else 32
    data = zlib.compress(np.ascontiguousarray(array, f"<i{bits // 8}").tobytes(), 9)
    return {"shape": list(array.shape), f"zlib_int{bits}": base64.b64encode(data).decode()}


def unpack(stored: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What :func:`pack` wrote of an array of ``shape``, as int64; else ``ValueError``."""
    found = member(stored, "shape", list)
    if found != list(shape):
        raise ValueError(f"counts of shape {found} stand where {list(shape)} belongs")
    bits = 64 if "zlib_int64" in stored else 32
    size = bits // 8 * int(np.prod(shape))
    try:
        packed = base64.b64decode(member(stored, f"zlib_int{bits}", str))
        data = zlib.decompressobj().decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError(f"counts cannot be unpacked ({error})") from error
    if len(data) != size:
        raise ValueError(f"counts of {size} bytes are not there whole")
    values = np.frombuffer(data, f"<i{bits // 8}").reshape(shape).astype(np.int64)
    if (values < 0).any():
        raise ValueError("there are counts below 0")
    return values
