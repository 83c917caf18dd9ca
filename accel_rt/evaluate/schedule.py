"""At which distances from a keyframe each labelled frame is scored.

- **sparse** labels (paper, section 4.1): scored once per interval ``n``; the distance rotates
  through 0..n-1 over the labelled frames, so that the mean is that of densely labelled video.
- **dense** labels: every frame is scored at every distance that the frames before it allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from accel_rt.errors import UsageError

Density = Literal["dense", "sparse"]
DENSITIES: tuple[str, ...] = get_args(Density)


class ConsecutivePair(NamedTuple):
    """Two consecutive predictions of one stream, by their distances from their keyframes.

    ``before`` is the previous frame's distance, ``now`` this one's: ``before + 1``, or 0 where
    the stream of interval ``before + 1`` has its next keyframe.
    """

    before: int
    now: int

    @property
    def slot(self) -> tuple[int, int]:
        """Where counts keep it: row 0 within an interval, row 1 across its end."""
        return (0, self.now) if self.now else (1, self.before)


@dataclass(frozen=True)
class KeyframeSchedule:
    """``longest`` is the largest keyframe interval that is evaluated.

    Raises :class:`~accel_rt.errors.UsageError` if it is below 1.
    """

    density: Density
    longest: int

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise UsageError(f"the keyframe interval must be at least 1, got {self.longest}")

    @property
    def intervals(self) -> range:
        """1 to ``longest``."""
        return range(1, self.longest + 1)

    def offsets(self, rank: int, index: int) -> list[int]:
        """Distances at which a labelled frame is scored.

        ``rank`` counts the labelled frames before it in the whole data set, ``index`` the frames
        before it in its sequence.
        """
        if self.density == "dense":
            return list(range(min(self.longest, index + 1)))
        return sorted({rank % n for n in self.intervals if rank % n <= index})

    def pairs(self, rank: int, index: int) -> list[ConsecutivePair]:
        """The pairs of predictions that are compared at a labelled frame."""
        if self.density == "dense":
            within = [ConsecutivePair(now - 1, now) for now in range(1, self.longest)]
            pairs = within + [ConsecutivePair(n - 1, 0) for n in self.intervals]
        else:
            chosen = [(n, rank % n) for n in self.intervals]
            pairs = list(
                dict.fromkeys(ConsecutivePair(now - 1 if now else n - 1, now) for n, now in chosen)
            )
        return [pair for pair in pairs if pair.before < index]

    def selected(self, interval: int, ranks: np.ndarray) -> np.ndarray:
        """Bool ``[frames, longest]``: the distances that make up the score at ``interval``."""
        offsets = np.arange(self.longest)
        if self.density == "dense":
            return np.broadcast_to(offsets < interval, (len(ranks), self.longest))
        return offsets == (ranks % interval)[:, None]

    def selected_pairs(self, interval: int, ranks: np.ndarray) -> np.ndarray:
        """Bool ``[frames, 2, longest]``: the slots of pairs of the stream at ``interval``."""
        selected = self.selected(interval, ranks)
        slots = np.zeros((len(ranks), 2, self.longest), bool)
        slots[:, 0, 1:] = selected[:, 1:]
        slots[:, 1, interval - 1] = selected[:, 0]
        return slots


@dataclass(frozen=True)
class WorkUnit:
    """A run of frames of one sequence: ``[start, stop)``, the first labelled one of ``rank``."""

    sequence: int
    start: int
    stop: int
    rank: int


def work_units(labelled: list[list[bool]], frames_each: int = 25) -> Iterator[WorkUnit]:
    """Cut sequences, given by which of their frames are labelled, into work of about equal size.

    The cuts depend on the data alone, so an interrupted run makes the same ones again. Runs
    without a labelled frame are left out.
    """
    rank = 0
    for sequence, flags in enumerate(labelled):
        cuts = np.linspace(0, len(flags), max(1, round(len(flags) / frames_each)) + 1)
        for start, stop in zip(cuts[:-1].astype(int), cuts[1:].astype(int), strict=True):
            count = sum(flags[start:stop])
            if count:
                yield WorkUnit(sequence, int(start), int(stop), rank)
            rank += count
