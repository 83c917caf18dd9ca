"""What a model's predictions add up to, frame by frame, and the scores that follow."""

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
from accel_rt.evaluate.protocol import Protocol
from accel_rt.jsonfile import member

_PER_FRAME = ("counts", "boundary", "consistency", "flicker")


@dataclass(frozen=True)
class Sums:
    """Counts of each labelled frame ``[F, ...]`` at one interval or distance, ready to add.

    ``counts`` and ``consistency`` ``[F, 3, C]``, ``boundary`` ``[F, 4, C]``, ``flicker``
    ``[F, 2]``; see :mod:`.metrics`, :mod:`.boundary` and :mod:`.temporal`.
    """

    counts: np.ndarray
    boundary: np.ndarray
    consistency: np.ndarray
    flicker: np.ndarray

    def scores(self, weights: np.ndarray, rate: float) -> dict[str, np.ndarray]:
        """Every score for frames that count ``weights`` ``[B, F]`` times, each ``[B]``.

        In percent, but ``flicker``: label changes per still pixel per second at ``rate`` Hz.
        """

        def total(values: np.ndarray) -> np.ndarray:
            flat = values.reshape(len(values), -1).astype(np.float64)
            return (weights @ flat).reshape(len(weights), *values.shape[1:])

        counts, flicker = total(self.counts), total(self.flicker)
        return {
            "miou": miou(counts),
            "pixel_accuracy": pixel_accuracy(counts),
            "mean_accuracy": mean_accuracy(counts),
            "boundary_f": mean_boundary_f(total(self.boundary)),
            "consistency": miou(total(self.consistency)),
            "flicker": rate * ratio(flicker[:, 0], flicker[:, 1]),
        }

    def summary(self, rate: float) -> dict[str, float]:
        """:meth:`scores` with every frame once."""
        every = np.ones((1, len(self.counts)))
        return {name: float(value[0]) for name, value in self.scores(every, rate).items()}


SCORES = ("miou", "pixel_accuracy", "mean_accuracy", "boundary_f", "consistency", "flicker")
"""What :meth:`Sums.scores` gives."""


class Tally:
    """Counts of one model over ``F`` labelled frames (:class:`Protocol`'s ranks ``ranks``).

    int64 arrays: ``counts`` ``[F, longest, 3, C]`` and ``boundary`` ``[F, longest, 4, C]`` by
    distance; ``consistency`` ``[F, 2, longest, 3, C]`` and ``flicker`` ``[F, 2, longest, 2]`` by
    the slot of the pair; ``confusion`` ``[longest, C, C]`` by interval, over all frames.
    """

    def __init__(self, protocol: Protocol, ranks: Sequence[int], classes: int) -> None:
        self.protocol = protocol
        self.ranks = np.array(ranks, np.int64)
        frames, longest = len(ranks), protocol.longest
        self.counts = np.zeros((frames, longest, 3, classes), np.int64)
        self.boundary = np.zeros((frames, longest, 4, classes), np.int64)
        self.consistency = np.zeros((frames, 2, longest, 3, classes), np.int64)
        self.flicker = np.zeros((frames, 2, longest, 2), np.int64)
        self.confusion = np.zeros((longest, classes, classes), np.int64)

    def meet(self, frame: int, offset: int, matrix: np.ndarray, boundary: np.ndarray) -> None:
        """Enter the prediction of a frame at a distance: confusion and boundary counts."""
        self.counts[frame, offset] = class_counts(matrix)
        self.boundary[frame, offset] = boundary
        ranks = self.ranks[frame : frame + 1]
        for interval in self.protocol.intervals:
            if self.protocol.met(interval, ranks)[0, offset]:
                self.confusion[interval - 1] += matrix

    def at_interval(self, interval: int) -> Sums:
        """The stream with a keyframe every ``interval`` frames."""
        protocol = self.protocol
        return self._sums(
            protocol.met(interval, self.ranks), protocol.met_pairs(interval, self.ranks)
        )

    def at_offset(self, offset: int) -> Sums:
        """Frames at one distance from the keyframe, in the stream of the longest interval."""
        protocol = self.protocol
        met = protocol.met(protocol.longest, self.ranks).copy()
        pairs = protocol.met_pairs(protocol.longest, self.ranks)
        met[:, np.arange(protocol.longest) != offset] = False
        pairs[:, 0, np.arange(protocol.longest) != offset] = False
        if offset:
            pairs[:, 1] = False
        return self._sums(met, pairs)

    def _sums(self, met: np.ndarray, pairs: np.ndarray) -> Sums:
        return Sums(
            np.einsum("fo,fo...->f...", met, self.counts),
            np.einsum("fo,fo...->f...", met, self.boundary),
            np.einsum("fso,fso...->f...", pairs, self.consistency),
            np.einsum("fso,fso...->f...", pairs, self.flicker),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that was counted, by name."""
        return {name: getattr(self, name) for name in ("ranks", *_PER_FRAME, "confusion")}

    @classmethod
    def join(cls, protocol: Protocol, parts: Sequence[dict[str, np.ndarray]]) -> Tally:
        """One tally from the :meth:`arrays` of the frames' parts, in order."""
        tally = cls(protocol, [], parts[0]["counts"].shape[-1])
        for name in ("ranks", *_PER_FRAME):
            setattr(tally, name, np.concatenate([part[name] for part in parts]))
        tally.confusion = np.sum([part["confusion"] for part in parts], axis=0)
        return tally

    def to_json(self) -> dict[str, Any]:
        """Plain types; per-frame arrays packed (:func:`pack`)."""
        packed = {name: pack(array) for name, array in self.arrays().items()}
        return {"density": self.protocol.density, "longest": self.protocol.longest, **packed}

    @classmethod
    def from_json(cls, stored: Any, frames: int, classes: int) -> Tally:
        """The tally that :meth:`to_json` wrote of ``frames`` labelled frames.

        Raises ``ValueError`` naming what is missing or wrong.
        """
        protocol = Protocol(member(stored, "density", str), member(stored, "longest", int))
        if not 1 <= protocol.longest <= LONGEST:
            raise ValueError(f"'longest' must be 1 to {LONGEST}, got {protocol.longest}")
        tally = cls(protocol, range(frames), classes)
        for name, empty in tally.arrays().items():
            setattr(tally, name, unpack(member(stored, name, dict), empty.shape))
        return tally


LONGEST = 1000
"""Of the intervals that a file may have been evaluated up to."""


def pack(array: np.ndarray) -> dict[str, Any]:
    """Integers as text: base64 of zlib of little-endian int32 in C order."""
    data = zlib.compress(np.ascontiguousarray(array, "<i4").tobytes(), 9)
    return {"shape": list(array.shape), "zlib_int32": base64.b64encode(data).decode()}


def unpack(stored: Any, shape: tuple[int, ...]) -> np.ndarray:
    """What :func:`pack` wrote of an array of ``shape``, as int64; else ``ValueError``."""
    found = member(stored, "shape", list)
    if found != list(shape):
        raise ValueError(f"counts of shape {found} stand where {list(shape)} belongs")
    size = 4 * int(np.prod(shape))
    try:
        packed = base64.b64decode(member(stored, "zlib_int32", str))
        data = zlib.decompressobj().decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError(f"counts cannot be unpacked ({error})") from error
    if len(data) != size:
        raise ValueError(f"counts of {size} bytes are not there whole")
    values = np.frombuffer(data, "<i4").reshape(shape).astype(np.int64)
    if (values < 0).any():
        raise ValueError("there are counts below 0")
    return values
