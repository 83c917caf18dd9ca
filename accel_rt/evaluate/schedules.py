"""Schedules compared on densely labelled video, with the segmenters that users run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, cycle, islice

import numpy as np

from accel_rt.bench.harness import Effort, interleave
from accel_rt.classes import IGNORE_LABEL
from accel_rt.data.dataset import DatasetFrame
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.models.foreign.open import load_placed
from accel_rt.runtime.load import load_segmenter
from accel_rt.runtime.result import FrameSegmenter
from accel_rt.runtime.schedule import LIVE_PRESETS, PRESETS
from accel_rt.runtime.settings import SegmenterSettings

WINDOWS = (8, 16)
"""Frames over which predictions should stay right, as in VSPW (Miao et al. 2021, mVC8, mVC16)."""


@dataclass(frozen=True)
class ScheduleScore:
    """Percent, the mean over all places that the first keyframe can have; milliseconds a frame.

    ``consistency`` has mVC of each of :data:`WINDOWS`: of the pixels whose label stays the same for
    so many frames, the share that is predicted right in all of them.
    """

    schedule: str
    miou: float
    consistency: dict[int, float]
    ms: float | None = None


def compared(base: SegmenterSettings) -> dict[str, SegmenterSettings]:
    """What is compared: single networks, the paper's modes, and the presets, all of one pair."""
    base = replace(base, scene_cuts=False)
    return {
        "reference on every frame": replace(base, mode="deeplab"),
        "update network on every frame": replace(base, mode="deeplab", reference=base.update),
        "paper: dff, interval 5": replace(base, mode="dff"),
        "paper: accel, interval 5": base,
        **{f"{name}": replace(base, **vars(schedule)) for name, schedule in PRESETS.items()},
        **{
            f"live {name}": replace(base, **vars(schedule))
            for name, schedule in LIVE_PRESETS.items()
        },
    }


def score_schedules(
    models: Mapping[str, SegmenterSettings],
    frames: Sequence[DatasetFrame],
    effort: Effort | None,
    report: Callable[[str], None],
) -> dict[str, ScheduleScore]:
    """Accuracy of each model on consecutive labelled ``frames``, and its time.

    With ``effort`` the models then take turns, an interval each, for their time a frame: that of
    ``push``, without reading files. Raises as :func:`accel_rt.runtime.load.load_segmenter`.
    """
    images, labels = zip(*(frame.read() for frame in frames), strict=True)
    load = cache(load_placed)
    scores, runs = {}, {}
    for name, settings in models.items():
        segmenter = load_segmenter(settings, load=load)
        interval = settings.schedule.interval
        scores[name] = _accuracy(segmenter, settings.schedule.describe(), interval, images, labels)
        report(f"{name}: mIoU {scores[name].miou:.1f}")
        runs[name] = _interval_of_frames(segmenter, interval, images)
    if effort is None:
        return scores
    rounds = interleave(runs, effort)
    return {
        name: replace(score, ms=rounds[name].median / models[name].schedule.interval)
        for name, score in scores.items()
    }


def _accuracy(
    segmenter: FrameSegmenter,
    schedule: str,
    interval: int,
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
) -> ScheduleScore:
    matrix = ConfusionMatrix(len(segmenter.classes))
    kept = {window: np.zeros(2, np.int64) for window in WINDOWS}
    for phase in range(interval):
        segmenter.reset()
        results = list(chain.from_iterable(map(segmenter.push, images[phase:])))
        results += segmenter.flush()
        predicted = [result.labels for result in results]
        for truth, found in zip(labels[phase:], predicted, strict=True):
            matrix.add(truth, found)
        for window, counts in kept.items():
            counts += consistent_pixels(labels[phase:], predicted, window)
    consistency = {
        window: 100 * float(right) / max(1, int(still)) for window, (right, still) in kept.items()
    }
    return ScheduleScore(schedule, matrix.miou(), consistency)


def consistent_pixels(
    labels: Sequence[np.ndarray], predicted: Sequence[np.ndarray], window: int
) -> np.ndarray:
    """Over all windows of so many frames: pixels whose label stays and that are predicted right
    throughout, and pixels whose label stays."""
    counts = np.zeros(2, np.int64)
    for start in range(len(labels) - window + 1):
        truth = labels[start]
        still = truth != IGNORE_LABEL
        right = np.ones_like(still)
        for moment in range(start, start + window):
            still &= labels[moment] == truth
            right &= predicted[moment] == truth
        counts += (int((still & right).sum()), int(still.sum()))
    return counts


def _interval_of_frames(
    segmenter: FrameSegmenter, interval: int, images: Sequence[np.ndarray]
) -> Callable[[], None]:
    """Pushes one interval of frames, going through ``images`` there and back."""
    stream = cycle([*images, *images[-2:0:-1]])
    segmenter.reset()

    def run() -> None:
        for image in islice(stream, interval):
            segmenter.push(image)

    return run
