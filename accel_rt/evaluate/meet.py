"""Walk through a share of the footage and tally every model's predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accel_rt.errors import UsageError
from accel_rt.evaluate.boundary import TrueBoundary
from accel_rt.evaluate.footage import Clip
from accel_rt.evaluate.metrics import confusion
from accel_rt.evaluate.predict import Predictor
from accel_rt.evaluate.protocol import Protocol, Share
from accel_rt.evaluate.tally import Tally
from accel_rt.evaluate.temporal import (
    Motion,
    MotionEstimator,
    consistency_counts,
    flicker_counts,
)

Labels = dict[str, dict[int, np.ndarray]]
"""Predictions of one frame, by model and distance."""


def tally_share(
    predictor: Predictor,
    clip: Clip,
    share: Share,
    protocols: Mapping[str, Protocol],
    classes: int,
) -> dict[str, Tally]:
    """Tallies of each model over the labelled frames of ``share``.

    Frames before it are read as far as keyframes lie there, so the result does not depend on how
    the footage was cut. Memory holds one frame and its predictions, and what the predictor keeps.
    """
    walk = _Walk(clip, share, protocols)
    tallies = {
        name: Tally(protocol, list(walk.rows), classes) for name, protocol in protocols.items()
    }
    motion = MotionEstimator()
    previous: Labels = {}
    last = None
    for index in walk.frames():
        if last is None or index != last + 1:
            predictor.reset()
            motion, previous = MotionEstimator(), {}
        last = index
        frame, rank = clip.frames[index], walk.rank(index)
        if rank is None:
            image, labels = frame.image_bgr(), None
        else:
            image, labels = frame.read()
        predictor.observe(image)
        moved = motion.step(image)
        current: Labels = {}
        for name, protocol in protocols.items():
            wanted = walk.wanted(protocol, index)
            current[name] = {offset: predictor.labels(name, offset) for offset in wanted}
        if rank is not None and labels is not None:
            _enter(tallies, rank - share.rank, labels, current, classes)
            if moved is not None:
                _compare(tallies, (rank - share.rank, rank, index), moved, previous, current)
        previous = current
    return tallies


def _enter(
    tallies: Mapping[str, Tally], row: int, labels: np.ndarray, current: Labels, classes: int
) -> None:
    boundary = TrueBoundary(labels, classes)
    for name, tally in tallies.items():
        for offset, predicted in current[name].items():
            matrix = confusion(labels, predicted, classes)
            tally.meet(row, offset, matrix, boundary.counts(predicted))


def _compare(
    tallies: Mapping[str, Tally],
    place: tuple[int, int, int],
    moved: Motion,
    previous: Labels,
    current: Labels,
) -> None:
    row, rank, index = place
    for name, tally in tallies.items():
        for pair in tally.protocol.pairs(rank, index):
            before, now = previous[name][pair.before], current[name][pair.now]
            classes = tally.counts.shape[-1]
            tally.consistency[row][pair.slot] = consistency_counts(before, now, moved, classes)
            tally.flicker[row][pair.slot] = flicker_counts(before, now, moved)


class _Walk:
    """Which frames of a clip a share needs, and which predictions at each."""

    def __init__(self, clip: Clip, share: Share, protocols: Mapping[str, Protocol]) -> None:
        flags = [frame.labelled for frame in clip.frames]
        inside = [index for index in range(share.start, share.stop) if flags[index]]
        self._ranks = {index: share.rank + row for row, index in enumerate(inside)}
        self._longest = max(protocol.longest for protocol in protocols.values())

    @property
    def rows(self) -> list[int]:
        """Ranks of the labelled frames."""
        return list(self._ranks.values())

    def rank(self, index: int) -> int | None:
        """Rank of a frame that is tallied, None for others."""
        return self._ranks.get(index)

    def frames(self) -> list[int]:
        """Every frame that is needed, in order."""
        needed: set[int] = set()
        for index in self._ranks:
            needed.update(range(max(0, index - self._longest), index + 1))
        return sorted(needed)

    def wanted(self, protocol: Protocol, index: int) -> list[int]:
        """Distances at which a frame is predicted: to be scored, or compared with the next."""
        offsets: set[int] = set()
        if index in self._ranks:
            offsets.update(protocol.offsets(self._ranks[index], index))
            offsets.update(p.now for p in protocol.pairs(self._ranks[index], index))
        if index + 1 in self._ranks:
            pairs = protocol.pairs(self._ranks[index + 1], index + 1)
            offsets.update(pair.before for pair in pairs)
        return sorted(offsets)


def check_classes(models: Mapping[str, tuple[str, ...]], wanted: tuple[str, ...]) -> None:
    """Raise :class:`~accel_rt.errors.UsageError` if a model's classes are not the footage's."""
    for name, classes in models.items():
        if classes != wanted:
            raise UsageError(
                f"'{name}' knows {len(classes)} classes ({', '.join(classes[:3])}, ...) and the "
                f"labels have {len(wanted)} ({', '.join(wanted[:3])}, ...): choose weights "
                f"trained for them"
            )
