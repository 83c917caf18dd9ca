"""Schedules compared on densely labelled video, with the segmenters that users run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, cycle, islice, pairwise, starmap
from statistics import median
from time import perf_counter

import cv2
import numpy as np

from accel_rt.bench.harness import Effort, interleave
from accel_rt.classes import IGNORE_LABEL
from accel_rt.evaluate.footage import FootageFrame, RenderedFrame
from accel_rt.evaluate.low_delay import low_delay_copy
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.evaluate.remembered import RememberedProgram
from accel_rt.evaluate.streaming import Costs, streaming_miou
from accel_rt.evaluate.temporal import Correspondence, CorrespondenceEstimator, flicker_counts
from accel_rt.flow.motion import Motion
from accel_rt.models.foreign.open import load_placed
from accel_rt.runtime.load import load_model, load_segmenter, segmenter_of, update_place
from accel_rt.runtime.result import FrameResult, FrameSegmenter
from accel_rt.runtime.schedule import LIVE_PRESETS, PRESETS, Schedule
from accel_rt.runtime.settings import SegmenterSettings

WINDOWS = (8, 16)
"""Frames over which predictions should stay right, as in VSPW (Miao et al. 2021, mVC8, mVC16)."""

SHORTEST = 2 * max(WINDOWS)
"""Frames that a video needs for that."""


@dataclass(frozen=True)
class LabelledVideo:
    """Consecutive frames uint8 BGR ``[H, W, 3]`` with their labels, at ``rate`` Hz if known.

    ``moved`` is the motion to each frame from the one before, None for the first; ``exact`` its
    true flow and occlusion (:meth:`.footage.RenderedFrame.motion`), where they are known, and
    ``vectors`` what its compression says of it, if there is one.
    """

    images: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]
    rate: float | None
    moved: Sequence[Correspondence | None]
    exact: Sequence[tuple[np.ndarray, np.ndarray]] | None
    vectors: Sequence[Motion | None] | None = None

    @classmethod
    def read(
        cls, frames: Sequence[FootageFrame], rate: float | None, crf: int | None = None
    ) -> LabelledVideo:
        """Everything into memory; with ``crf`` a :func:`.low_delay.low_delay_copy` of it."""
        images, labels, vectors = [], [], None
        exact = [frame.motion() for frame in frames if isinstance(frame, RenderedFrame)]
        for frame in frames:
            image, truth = frame.read()
            images.append(image)
            labels.append(truth)
        if crf is not None:
            copy = low_delay_copy(images, crf)
            images, vectors = [f.image_bgr for f in copy], [f.motion for f in copy]
        moved = [*map(CorrespondenceEstimator().step, images)]
        return cls(images, labels, rate, moved, exact or None, vectors)

    def pushes(self) -> list[tuple[np.ndarray, None, Motion | None]]:
        """The arguments of each frame's push."""
        vectors = self.vectors or [None] * len(self.images)
        return [(image, None, known) for image, known in zip(self.images, vectors, strict=True)]


@dataclass(frozen=True)
class ScheduleScore:
    """Percent, the mean over all places that the first keyframe can have; milliseconds a frame.

    ``consistency`` has mVC of each of :data:`WINDOWS`: of the pixels whose label stays the same for
    so many frames, the share that is predicted right in all of them. ``flicker`` is how often a
    still pixel's label changes, per second, or per frame if nobody knows the rate. ``uncovered`` is
    the mIoU on what came into sight since the keyframe, where that is known, and ``streaming``
    :func:`~accel_rt.evaluate.streaming.streaming_miou`, for schedules that are for live video.
    """

    schedule: str
    miou: float
    consistency: dict[int, float]
    flicker: float
    uncovered: float | None = None
    streaming: float | None = None
    ms: float | None = None


def compared(base: SegmenterSettings) -> dict[str, SegmenterSettings]:
    """What is compared: single networks, the paper's modes, what is done to these, and the presets,
    all of one pair."""
    base = replace(base, scene_cuts=False)
    return {
        "reference on every frame": replace(base, mode="deeplab"),
        "update network on every frame": replace(
            base, mode="deeplab", reference=str(update_place(base))
        ),
        f"paper: dff, interval {base.interval}": replace(base, mode="dff"),
        f"paper: accel, interval {base.interval}": base,
        "dff, adaptive": replace(base, mode="dff", policy="adaptive"),
        "accel, adaptive": replace(base, policy="adaptive"),
        "dff, budget": replace(base, mode="dff", policy="budget"),
        "accel, budget": replace(base, policy="budget"),
        "accel, gated": replace(base, gate=True),
        **{f"{name}": replace(base, **vars(schedule)) for name, schedule in PRESETS.items()},
        **{
            f"live {name}": replace(base, **vars(schedule))
            for name, schedule in LIVE_PRESETS.items()
        },
    }


def score_schedules(
    models: Mapping[str, SegmenterSettings],
    video: LabelledVideo,
    effort: Effort | None,
    report: Callable[[str], None],
) -> dict[str, ScheduleScore]:
    """Accuracy of each model on ``video``, and its time.

    For accuracy the networks see each frame once. With ``effort`` the models then take turns, an
    interval each, for their time a frame: that of ``push``, without reading files. Raises as
    :func:`accel_rt.runtime.load.load_segmenter`.
    """
    load, program = cache(load_placed), partial(RememberedProgram, memory={})
    scores, remembered = {}, {}
    for name, settings in models.items():
        plain = replace(settings, cuda_graphs=False)  # what it remembers, no graph can look up
        segmenter = segmenter_of(load_model(settings, load), plain, program=program)
        scores[name] = _accuracy(segmenter, settings.schedule, video)
        report(f"{name}: mIoU {scores[name].miou:.1f}")
        remembered[name] = segmenter
    if effort is None:
        return scores
    runs = {
        name: _Run(load_segmenter(settings, load=load), settings.schedule.interval, video)
        for name, settings in models.items()
    }
    rounds = interleave(runs, effort)
    for name, settings in models.items():
        schedule, segmenter = settings.schedule, remembered[name]
        streaming = None
        if video.rate is not None and not schedule.look_ahead and video.vectors is None:
            seen = video.images, video.labels, video.rate
            streaming = streaming_miou(segmenter, *seen, runs[name].costs())
        ms = rounds[name].median / schedule.interval
        scores[name] = replace(scores[name], ms=ms, streaming=streaming)
    return scores


def schedule_rows(scores: Mapping[str, ScheduleScore]) -> list[tuple[str, ...]]:
    """A heading, then a row for each schedule; a column for each measure that was taken."""
    rows = [
        {
            "schedule": score.schedule,
            "mIoU": score.miou,
            **{f"mVC{window}": value for window, value in score.consistency.items()},
            "flicker": score.flicker,
            "new": score.uncovered,
            "live": score.streaming,
            "ms a frame": score.ms,
        }
        for score in scores.values()
    ]
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]

    def cell(column: str, value: object) -> str:
        if not isinstance(value, float):
            return str(value or "")
        return f"{value:.2f}" if column == "flicker" else f"{value:.1f}"

    lines = [
        (name, *(cell(column, row[column]) for column in columns))
        for name, row in zip(scores, rows, strict=True)
    ]
    return [("", *columns), *lines]


def _accuracy(segmenter: FrameSegmenter, schedule: Schedule, video: LabelledVideo) -> ScheduleScore:
    classes = len(segmenter.classes)
    matrix, uncovered = ConfusionMatrix(classes), ConfusionMatrix(classes)
    kept = {window: np.zeros(2, np.int64) for window in WINDOWS}
    changed = np.zeros(2, np.int64)
    for phase in range(schedule.interval):
        segmenter.reset()
        results = list(chain.from_iterable(starmap(segmenter.push, video.pushes()[phase:])))
        results += segmenter.flush()
        labels, predicted = video.labels[phase:], [result.labels for result in results]
        for truth, found in zip(labels, predicted, strict=True):
            matrix.add(truth, found)
        for window, counts in kept.items():
            counts += consistent_pixels(labels, predicted, window)
        for (before, after), moved in zip(
            pairwise(predicted), video.moved[phase + 1 :], strict=True
        ):
            assert moved is not None
            changed += flicker_counts(before, after, moved)
        if video.exact is not None:
            _count_uncovered(uncovered, results, labels, video.exact[phase:])
    consistency = {
        window: 100 * float(right) / max(1, int(still)) for window, (right, still) in kept.items()
    }
    flicker = (video.rate or 1.0) * float(changed[0]) / max(1, int(changed[1]))
    score = ScheduleScore(schedule.describe(), matrix.miou(), consistency, flicker)
    seen = uncovered.counts.any()
    return replace(score, uncovered=uncovered.miou()) if seen else score


def _count_uncovered(
    matrix: ConfusionMatrix,
    results: Sequence[FrameResult],
    labels: Sequence[np.ndarray],
    exact: Sequence[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Count what each frame shows that its keyframe, the last before it, did not."""
    hidden: np.ndarray | None = None
    for result, truth, (flow, occluded) in zip(results, labels, exact, strict=True):
        if result.kind == "key":
            hidden = np.zeros(truth.shape, np.uint8)
            continue
        assert hidden is not None
        height, width = truth.shape
        y, x = np.mgrid[:height, :width].astype(np.float32)
        places = flow + np.stack([x, y], -1)
        before = cv2.remap(hidden, places, None, cv2.INTER_NEAREST, borderValue=1)  # type: ignore[call-overload]
        hidden = np.maximum(before, occluded.astype(np.uint8))
        matrix.add(np.where(hidden > 0, truth, IGNORE_LABEL), result.labels)


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


class _Run:
    """Pushes one interval of frames, going through ``video`` there and back, and keeps count.

    Vectors lead one way: with these it goes through it again and again.
    """

    def __init__(self, segmenter: FrameSegmenter, interval: int, video: LabelledVideo) -> None:
        self._segmenter, self._interval = segmenter, interval
        frames = video.pushes()
        self._stream = cycle(frames if video.vectors else [*frames, *frames[-2:0:-1]])
        self._seconds: dict[tuple[str, ...], list[float]] = {}
        segmenter.reset()

    def __call__(self) -> None:
        for frame in islice(self._stream, self._interval):
            started = perf_counter()
            results = self._segmenter.push(*frame)
            kinds = tuple(result.kind for result in results)
            self._seconds.setdefault(kinds, []).append(perf_counter() - started)

    def costs(self) -> Costs:
        """Median seconds of a push by the kinds of its results."""
        return {kinds: median(seconds) for kinds, seconds in self._seconds.items()}
