"""One pass over a part of the footage: every model's predictions are compared with the labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accel_rt.errors import UsageError
from accel_rt.evaluate.boundary import TrueBoundary
from accel_rt.evaluate.counts import Counts
from accel_rt.evaluate.footage import Clip
from accel_rt.evaluate.metrics import confusion
from accel_rt.evaluate.predict import Predictor
from accel_rt.evaluate.schedule import KeyframeSchedule, WorkUnit
from accel_rt.evaluate.temporal import (
    Correspondence,
    CorrespondenceEstimator,
    consistency_counts,
    flicker_counts,
)

Labels = dict[str, dict[int, np.ndarray]]
"""Predictions of one frame, by model and distance."""


def count_unit(
    predictor: Predictor,
    clip: Clip,
    unit: WorkUnit,
    schedules: Mapping[str, KeyframeSchedule],
    classes: int,
) -> dict[str, Counts]:
    """Counts of each model over the labelled frames of ``unit``.

    Frames before it are read back to the furthest keyframe, so that the result does not depend on
    how the footage was divided. Memory holds one frame and its predictions, and what the predictor
    keeps.
    """
    plan = _Plan(clip, unit, schedules)
    counts = {
        name: Counts(schedule, list(plan.rows), classes) for name, schedule in schedules.items()
    }
    correspondences = CorrespondenceEstimator()
    previous: Labels = {}
    last = None
    for index in plan.frames():
        if last is None or index != last + 1:
            predictor.reset()
            correspondences, previous = CorrespondenceEstimator(), {}
        last = index
        frame, rank = clip.frames[index], plan.rank(index)
        if rank is None:
            image, labels = frame.image_bgr(), None
        else:
            image, labels = frame.read()
        predictor.observe(image)
        moved = correspondences.step(image)
        current: Labels = {}
        for name, schedule in schedules.items():
            wanted = plan.wanted(schedule, index)
            current[name] = {offset: predictor.labels(name, offset) for offset in wanted}
        if rank is not None and labels is not None:
            _add_scores(counts, rank - unit.rank, labels, current, classes)
            if moved is not None:
                _add_pairs(counts, (rank - unit.rank, rank, index), moved, previous, current)
        previous = current
    return counts


def _add_scores(
    counts: Mapping[str, Counts], row: int, labels: np.ndarray, current: Labels, classes: int
) -> None:
    boundary = TrueBoundary(labels, classes)
    for name, own in counts.items():
        for offset, predicted in current[name].items():
            matrix = confusion(labels, predicted, classes)
            own.add(row, offset, matrix, boundary.counts(predicted))


def _add_pairs(
    counts: Mapping[str, Counts],
    place: tuple[int, int, int],
    moved: Correspondence,
    previous: Labels,
    current: Labels,
) -> None:
    row, rank, index = place
    for name, own in counts.items():
        for pair in own.schedule.pairs(rank, index):
            before, now = previous[name][pair.before], current[name][pair.now]
            classes = own.pixels.shape[-1]
            own.consistency[row][pair.slot] = consistency_counts(before, now, moved, classes)
            own.flicker[row][pair.slot] = flicker_counts(before, now, moved)


class _Plan:
    """Which frames of a clip a unit needs, and which predictions of each."""

    def __init__(
        self, clip: Clip, unit: WorkUnit, schedules: Mapping[str, KeyframeSchedule]
    ) -> None:
        flags = [frame.labelled for frame in clip.frames]
        inside = [index for index in range(unit.start, unit.stop) if flags[index]]
        self._ranks = {index: unit.rank + row for row, index in enumerate(inside)}
        self._longest = max(schedule.longest for schedule in schedules.values())

    @property
    def rows(self) -> list[int]:
        """Ranks of the labelled frames."""
        return list(self._ranks.values())

    def rank(self, index: int) -> int | None:
        """Rank of a frame that is scored, None for others."""
        return self._ranks.get(index)

    def frames(self) -> list[int]:
        """Every frame that is needed, in order."""
        needed: set[int] = set()
        for index in self._ranks:
            needed.update(range(max(0, index - self._longest), index + 1))
        return sorted(needed)

    def wanted(self, schedule: KeyframeSchedule, index: int) -> list[int]:
        """Distances at which a frame is predicted: to be scored, or compared with the next."""
        offsets: set[int] = set()
        if index in self._ranks:
            offsets.update(schedule.offsets(self._ranks[index], index))
            offsets.update(p.now for p in schedule.pairs(self._ranks[index], index))
        if index + 1 in self._ranks:
            pairs = schedule.pairs(self._ranks[index + 1], index + 1)
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
