"""What there is to do: videos, and the chunks that each is cut into."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from accel_rt.video.packets import PacketTable

CHUNK_S = 30.0
"""Seconds of a chunk, unless one is asked for."""

_LONGEST_GAP_S = 3600  # a writer fills longer ones with pictures of its own


@dataclass(frozen=True)
class Outputs:
    """Where what is made of a video goes, paths or URLs; None for what is not wanted."""

    video: str | None = None
    masks: str | None = None
    timing: str | None = None
    stats: str | None = None


@dataclass(frozen=True)
class Video:
    """An input, and what is to be made of it.

    ``key`` tells it, as it is now, and all settings that change the outputs from all others.
    """

    source: str
    outputs: Outputs
    key: str


@dataclass(frozen=True)
class Chunk:
    """The frames of a video from ``start`` up to ``end``, about ``frames`` of them.

    Both are seconds of the source's time, None for where the wanted span begins and ends.
    """

    start: Fraction | None
    end: Fraction | None
    frames: int

    def id(self, key: str) -> str:
        """The chunk's name, which is another one for another input, other settings or span."""
        return digest([key, str(self.start), str(self.end)])


@dataclass(frozen=True)
class Plan:
    """A video's chunks in order.

    ``origin`` is the source's time that the output has as 0, ``clock`` the one that spans are
    counted from, in seconds; ``size`` is the ``(height, width)`` and ``rate`` the frames per second
    of the whole video, as its beginning says.
    """

    chunks: tuple[Chunk, ...]
    origin: Fraction
    clock: Fraction
    size: tuple[int, int]
    rate: Fraction

    @property
    def frames(self) -> int:
        return sum(chunk.frames for chunk in self.chunks)

    def to_json(self) -> dict[str, Any]:
        """The plan for :meth:`from_json`."""
        cuts = [str(chunk.start) for chunk in self.chunks[1:]]
        return {
            "cuts": cuts,
            "frames": [chunk.frames for chunk in self.chunks],
            "origin": str(self.origin),
            "clock": str(self.clock),
            "size": list(self.size),
            "rate": str(self.rate),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Plan:
        """What :meth:`to_json` gave."""
        cuts = [Fraction(text) for text in stored["cuts"]]
        chunks = _chunks(cuts, stored["frames"])
        origin, clock, rate = (Fraction(stored[name]) for name in ("origin", "clock", "rate"))
        height, width = stored["size"]
        return cls(chunks, origin, clock, (height, width), rate)


@dataclass(frozen=True)
class Task:
    """Something to do for a video: plan it, do chunk number ``chunk``, or join all of them."""

    kind: Literal["plan", "chunk", "join"]
    video: Video
    plan: Plan | None = None
    chunk: int = 0

    @property
    def id(self) -> str:
        if self.plan is not None and self.kind == "chunk":
            return self.plan.chunks[self.chunk].id(self.video.key)
        return f"{self.kind} {self.video.key}"


def digest(value: Any) -> str:
    """20 hexadecimal digits that tell ``value``, anything that JSON can hold, from others."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def cut(
    table: PacketTable,
    chunk_s: float = CHUNK_S,
    first: Fraction | None = None,
    end_s: float | None = None,
) -> tuple[Chunk, ...]:
    """The chunks of a video: it is cut at its keyframes that are nearest to every ``chunk_s``.

    ``first`` is the time of the span's first frame that can be decoded, which is in the first
    chunk; ``end_s`` ends the span, in seconds from ``table.origin``. A video whose times leave it
    open what is shown before a keyframe (duplicates, clocks set back, none at all) is one chunk.
    """
    base, shown = table.time_base, np.sort(table.times)
    orderly = _is_orderly(table, shown)
    if first is not None:
        shown = shown[np.searchsorted(shown, math.ceil(first / base)) :]
    if end_s is not None:
        until = (table.origin + Fraction(str(end_s))) / base
        shown = shown[: np.searchsorted(shown, math.ceil(until))]
    if not len(shown) or not orderly:
        return _chunks([], [len(shown)])
    keys = table.times[table.keys]
    keys = keys[(keys > shown[0]) & (keys <= shown[-1])]
    ticks = max(1, round(Fraction(str(chunk_s)) / base))
    targets = np.arange(shown[0] + ticks, shown[-1] - ticks // 2, ticks)
    cuts = _nearest(keys, targets)
    edges = [0, *np.searchsorted(shown, cuts).tolist(), len(shown)]
    return _chunks([tick * base for tick in cuts.tolist()], np.diff(edges).tolist())


def _chunks(cuts: list[Fraction], frames: list[int]) -> tuple[Chunk, ...]:
    edges = [None, *cuts, None]
    return tuple(Chunk(*span) for span in zip(edges[:-1], edges[1:], frames, strict=True))


def _is_orderly(table: PacketTable, shown: np.ndarray) -> bool:
    """Whether all that comes before a keyframe is shown before it, and all times are different.

    ``shown`` are the sorted times.
    """
    if not table.timed:
        return False
    before = np.maximum.accumulate(table.times)[:-1]
    steps = np.diff(shown)
    longest = int(_LONGEST_GAP_S / table.time_base)
    keys = table.keys[1:]
    return bool(
        (table.times[1:][keys] > before[keys]).all()
        and (steps > 0).all()
        and (steps < longest).all()
    )


def _nearest(sorted_times: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Those of ``sorted_times`` that are nearest to one of ``targets``, each once."""
    if not len(sorted_times):
        return sorted_times
    after = np.searchsorted(sorted_times, targets).clip(0, len(sorted_times) - 1)
    before = (after - 1).clip(0)
    nearer = targets - sorted_times[before] <= sorted_times[after] - targets
    return np.unique(sorted_times[np.where(nearer, before, after)])
