"""mIoU of a segmenter on a densely labelled video, by distance from the keyframe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accel_rt.data.dataset import Frame
from accel_rt.errors import UsageError
from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.runtime.segmenter import Segmenter


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


def score_stream(segmenter: Segmenter, frames: Sequence[Frame], interval: int) -> StreamScore:
    """Run the video once per keyframe phase, so that every frame is met at every distance.

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
            result = segmenter.step(images[index])
            offset = (index - phase) % interval
            if (result.kind == "key") != (offset == 0):
                raise UsageError(
                    f"frame {index} is a{' key' if result.kind == 'key' else 'n update '}frame at "
                    f"distance {offset}: the segmenter does not place keyframes every {interval}"
                )
            matrices[offset].add(labels[index], np.asarray(result.labels))
    return StreamScore(matrices)
