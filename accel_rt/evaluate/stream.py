"""mIoU of a segmenter on labelled video, by distance from the keyframe."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from accel_rt.data.dataset import DatasetFrame, FrameSequence
from accel_rt.errors import UsageError
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.runtime.result import FrameSegmenter


@dataclass(frozen=True)
class StreamScore:
    """One matrix per distance from the keyframe."""

    by_offset: list[ConfusionMatrix]

    def miou(self) -> float:
        """mIoU in percent over all distances: the paper's mean at this interval."""
        total = ConfusionMatrix(len(self.by_offset[0].counts))
        for matrix in self.by_offset:
            total.counts += matrix.counts
        return total.miou()


def score_stream(
    segmenter: FrameSegmenter, frames: Sequence[DatasetFrame], interval: int
) -> StreamScore:
    """Run the video once per keyframe phase, so that every frame is scored at every distance.

    ``segmenter`` must place keyframes every ``interval`` frames and nowhere else. The first
    frames, which would lie before a phase's first keyframe, are left out of that phase. Raises
    :class:`~accel_rt.errors.UsageError` if there are fewer frames than the interval.
    """
    if len(frames) < interval:
        raise UsageError(f"{len(frames)} frames are fewer than the interval {interval}")
    images, labels = zip(*(frame.read() for frame in frames), strict=True)
    matrices = [ConfusionMatrix(len(segmenter.classes)) for _ in range(interval)]
    for phase in range(interval):
        segmenter.reset()
        for index in range(phase, len(frames)):
            offset = (index - phase) % interval
            predicted = _step(segmenter, images[index], offset, interval)
            matrices[offset].add(labels[index], predicted)
    return StreamScore(matrices)


def predictions(
    segmenter: FrameSegmenter, frames: Iterable[DatasetFrame]
) -> Iterator[tuple[DatasetFrame, np.ndarray]]:
    """A video's labelled frames with what is found in them, uint8 ``[H, W]``, by whatever schedule
    the segmenter has."""
    segmenter.reset()
    waiting: deque[DatasetFrame] = deque()
    for frame in (*frames, None):
        if frame is None:
            results = segmenter.flush()
        else:
            waiting.append(frame)
            results = segmenter.push(frame.image_bgr())
        for result in results:
            done = waiting.popleft()
            if done.labelled:
                yield done, np.asarray(result.labels)


def score_snippets(
    segmenter: FrameSegmenter, sequences: Sequence[FrameSequence], interval: int
) -> StreamScore:
    """Score every labelled frame once; the distance of the keyframe before it rotates.

    The paper's protocol for sparse labels (section 4.1). Labelled frames with too few frames before
    them are left out. ``segmenter`` is as for :func:`score_stream`. Raises
    :class:`~accel_rt.errors.UsageError` if fewer frames are left than the interval.
    """
    selected = selected_in_snippets(sequences, interval)
    if len(selected) < interval:
        raise UsageError(
            f"{len(selected)} labelled frames have {interval - 1} frames before them: fewer than "
            f"the interval {interval}"
        )
    matrices = [ConfusionMatrix(len(segmenter.classes)) for _ in range(interval)]
    for rank, (sequence, index) in enumerate(selected):
        last = rank % interval
        segmenter.reset()
        image, labels = sequence.frames[index].read()
        images = [frame.image_bgr() for frame in sequence.frames[index - last : index]]
        for offset, frame_bgr in enumerate([*images, image]):
            predicted = _step(segmenter, frame_bgr, offset, interval)
        matrices[last].add(labels, predicted)
    return StreamScore(matrices)


def selected_in_snippets(
    sequences: Sequence[FrameSequence], interval: int
) -> list[tuple[FrameSequence, int]]:
    """The labelled frames, by sequence and index, that can be scored at every distance."""
    return [(s, index) for s in sequences for index in s.labelled() if index + 1 >= interval]


def _step(
    segmenter: FrameSegmenter, frame_bgr: np.ndarray, offset: int, interval: int
) -> np.ndarray:
    """Labels of the frame ``offset`` frames after its keyframe, which must be one there."""
    result = segmenter.step(frame_bgr)
    if (result.kind == "key") != (offset == 0):
        raise UsageError(
            f"there is a{' key' if result.kind == 'key' else 'n update '}frame at distance "
            f"{offset}: the segmenter does not place keyframes every {interval}"
        )
    return np.asarray(result.labels)
