"""Accuracy of what a camera's viewer sees: whoever is slow answers for frames long past."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from accel_rt.evaluate.metrics import ConfusionMatrix
from accel_rt.runtime.result import FrameSegmenter

_MOMENT_S = 1e-6  # what rounding may cost

Costs = Mapping[tuple[str, ...], float]
"""Seconds of a ``push`` by the kinds of the results that it returned."""


def streaming_miou(
    segmenter: FrameSegmenter,
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    rate: float,
    costs: Costs,
) -> float:
    """mIoU in percent of the newest finished answer at each tick of a camera of ``rate`` Hz.

    As Li, Wang and Ramanan measure it ("Towards streaming perception", ECCV 2020), on a clock of
    its own: whenever the segmenter is free it takes the newest frame that has come, skips what came
    before, and is done after ``costs``. Ticks before the first answer do not count.
    """
    matrix = ConfusionMatrix(len(segmenter.classes))
    answers = _answers(segmenter, images, rate, costs)
    coming, shown = next(answers, None), None
    for tick, truth in enumerate(labels):
        while coming is not None and coming[0] <= tick / rate + _MOMENT_S:
            shown, coming = coming[1], next(answers, None)
        if shown is not None:
            matrix.add(truth, shown)
    return matrix.miou()


def _answers(
    segmenter: FrameSegmenter, images: Sequence[np.ndarray], rate: float, costs: Costs
) -> Iterator[tuple[float, np.ndarray]]:
    """When each answer is done, in seconds, and its labels."""
    segmenter.reset()
    now, last = 0.0, -1
    while True:
        newest = int((now + _MOMENT_S) * rate)
        if newest <= last:  # has seen the newest, and waits for the next
            newest = last + 1
            now = newest / rate
        if newest >= len(images):
            return
        results, last = segmenter.push(images[newest]), newest
        # A combination that was not timed counts as the longest that was.
        now += costs.get(tuple(result.kind for result in results), max(costs.values()))
        if results:
            yield now, results[-1].labels
